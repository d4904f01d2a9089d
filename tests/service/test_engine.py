from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bundle import Bundle
from service.device import CPU, Device
from service.engine import Engine, pad_left
from service.epoch import Epoch
from service.searches import BoundTrie
from service.tokenizer import Query
from sid.manifest import BundleError

QUERIES = st.builds(
    Query,
    st.sampled_from(["red shoes", "wool hat", "雨伞", "?"]),
    st.lists(st.integers(4, 300), min_size=1, max_size=20).map(lambda ids: (1, *ids, 2)),
)
QUERY = Query("red shoes", (1, 50, 2))


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Bundle:
    return Bundle.load(bundles / "sft")


@pytest.fixture(scope="module")
def epoch(bundle: Bundle) -> Epoch:
    return Epoch.load(bundle.path, bundle.manifest)


@pytest.fixture(scope="module")
def engine(bundle: Bundle) -> Engine:
    return Engine(bundle, Device(CPU), "auto", intra_threads=1, max_batch=8)


@pytest.fixture(scope="module")
def bound(engine: Engine, epoch: Epoch) -> BoundTrie:
    return engine.bind(epoch.trie, np.ones(epoch.trie.n_nodes, dtype=bool))


@settings(max_examples=30)
@given(
    width=st.sampled_from([4, 64]),
    queries=st.lists(QUERIES, min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_a_batch_is_its_queries(
    engine: Engine, bound: BoundTrie, epoch: Epoch, width: int, queries: list[Query], seed: int
) -> None:
    """Neither the padding nor the filters of others change an answer."""
    rng = np.random.default_rng(seed)
    trie = epoch.trie
    masks = [trie.alive(rng.random(trie.n_leaves) < share) for share in (0.0, 0.1, 0.6)]
    rows = rng.integers(0, len(masks) + 1, len(queries), dtype=np.int32)
    together = engine.search(bound, width, queries, masks, rows)
    for n, (query, row) in enumerate(zip(queries, rows, strict=True)):
        own = [masks[row - 1]] if row else []
        alone = engine.search(bound, width, [query], own, np.full(1, len(own), np.int32))
        filled = alone.leaves[0] >= 0
        np.testing.assert_array_equal(together.leaves[n] >= 0, filled)
        np.testing.assert_allclose(together.log_probs[n], alone.log_probs[0], atol=1e-4)
        np.testing.assert_allclose(together.query_vectors[n], alone.query_vectors[0], atol=1e-5)


@pytest.mark.parametrize("width", [4, 64])
def test_a_search_stays_inside_its_filter(engine: Engine, bound: BoundTrie, epoch: Epoch, width: int) -> None:
    table, trie = epoch.table, epoch.trie
    wanted = np.zeros(table.n_leaves, bool)
    wanted[[3, 11, 30]] = True
    beams = engine.search(bound, width, [QUERY], [trie.alive(wanted)], np.ones(1, np.int32))
    assert sorted(beams.leaves[0][:3]) == [3, 11, 30]
    assert (beams.leaves[0][3:] == -1).all()
    assert (beams.sids[0][3:] == -1).all()
    np.testing.assert_array_equal(beams.sids[0][:3], table.codes[beams.leaves[0][:3]])
    assert np.isfinite(beams.log_probs).all()


def test_the_text_of_a_query_is_read_beside_its_tokens(engine: Engine, bound: BoundTrie) -> None:
    queries = [Query(text, (1, 50, 2)) for text in ("red shoes", "wool hat", "red shoes")]
    beams = engine.search(bound, 64, queries, [], np.zeros(3, np.int32))
    assert np.abs(beams.log_probs[0] - beams.log_probs[1]).max() > 0.01
    np.testing.assert_array_equal(beams.log_probs[0], beams.log_probs[2])


def test_nothing_is_found_where_nothing_lives(engine: Engine, bound: BoundTrie, epoch: Epoch) -> None:
    nothing = epoch.trie.alive(np.zeros(epoch.table.n_leaves, bool))
    beams = engine.search(bound, 4, [QUERY], [nothing], np.ones(1, np.int32))
    assert (beams.leaves == -1).all()


def test_the_narrowest_graph_that_is_wide_enough(engine: Engine) -> None:
    assert engine.beam_widths == (4, 64)
    assert [engine.graph_width(width) for width in (1, 4, 5, 64)] == [4, 4, 64, 64]


def test_padding_is_on_the_left() -> None:
    tokens, mask = pad_left([(1, 5, 2), (1, 2)])
    np.testing.assert_array_equal(tokens, [[1, 5, 2], [0, 1, 2]])
    np.testing.assert_array_equal(mask, [[True, True, True], [False, True, True]])
    assert (tokens.dtype, mask.dtype) == (np.int64, np.bool_)


def test_nodes_that_are_dead_without_a_filter_are_not_reached(
    engine: Engine, bound: BoundTrie, epoch: Epoch
) -> None:
    """Beside filters, which say for themselves what lives."""
    left = np.ones(epoch.table.n_leaves, dtype=bool)
    left[::2] = False
    rebound = engine.rebind(bound, epoch.trie.alive(left))
    everything = np.ones(epoch.trie.n_nodes, dtype=bool)
    for masks, rows in (([], [0, 0]), ([everything], [0, 1])):
        beams = engine.search(rebound, 64, [QUERY, QUERY], masks, np.array(rows, np.int32))
        whole = engine.search(bound, 64, [QUERY, QUERY], [], np.zeros(2, np.int32))
        assert set(beams.leaves[0]) - {-1} == set(np.flatnonzero(left))
        expected = whole if masks else beams
        np.testing.assert_array_equal(beams.leaves[1], expected.leaves[1 if masks else 0])


def test_a_graph_that_cannot_be_loaded(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    monkeypatch.setattr(Bundle, "graph_path", lambda *_: tmp_path / "graph.onnx")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Engine(bundle, Device(CPU), "auto", intra_threads=1, max_batch=8)


@pytest.mark.parametrize("explains", [False, True])
def test_a_batch_with_more_filters_than_a_graph_counts_is_searched_in_parts(
    engine: Engine, bound: BoundTrie, epoch: Epoch, explains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, trie = np.random.default_rng(0), epoch.trie
    masks = [trie.alive(rng.random(trie.n_leaves) < 0.3) for _ in range(4)]
    queries = [Query(text, (1, 50, 2)) for text in ("red shoes", "wool hat", "red hat", "tent", "lamp")]
    rows = np.array([2, 0, 1, 4, 2], np.int32)
    whole = engine.search(bound, 4, queries, masks, rows, explains)
    monkeypatch.setattr("service.engine.MOST_NODES", 3 * trie.n_nodes)
    parts = engine.search(bound, 4, queries, masks, rows, explains)
    np.testing.assert_array_equal(parts.leaves, whole.leaves)
    np.testing.assert_allclose(parts.log_probs, whole.log_probs, atol=1e-4)
    assert len(parts.rankings) == len(whole.rankings)
    for found, expected in zip(parts.rankings, whole.rankings, strict=True):
        np.testing.assert_array_equal(found.nodes, expected.nodes)
