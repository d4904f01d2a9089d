"""Graphs of fixed sizes on a CPU: the steps that a GPU captures give what a plain run gives."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from model_export.graph import build_graph
from model_export.proof import weights_of
from service.device import CPU, CUDA, OwnedDevice, Resident, choose_graphs
from service.errors import ServiceError
from service.searches import BoundTrie, CapturedSearch, DeviceTrie, PlainSearch
from sid import SidTable, Trie
from sid.manifest import Graph, Manifest
from training.model import Decoder, DecoderConfig

BEAM_WIDTH = 6
CODEBOOKS = (5, 4)


DEVICE = OwnedDevice(CPU)


@pytest.fixture(scope="module")
def session() -> Resident[ort.InferenceSession]:
    config = DecoderConfig(30, CODEBOOKS, 3, 4, d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8)
    graph = build_graph(config, weights_of(Decoder(config)), BEAM_WIDTH, for_gpu=True)
    proto = ir.to_proto(graph).SerializeToString()
    return Resident(DEVICE, lambda: ort.InferenceSession(proto, providers=[CPU]))


def bound(seed: int) -> BoundTrie:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, 12) for size in CODEBOOKS], axis=1)
    trie = Trie.from_table(SidTable.from_item_codes(codes, CODEBOOKS))
    alive = np.ones(trie.n_nodes, dtype=bool)
    arrays, budget = (
        {name: DEVICE.place(array) for name, array in some.items()}
        for some in (trie.graph_inputs, trie.chunk_budget(BEAM_WIDTH))
    )
    return BoundTrie(DeviceTrie(arrays, {BEAM_WIDTH: budget}), alive, DEVICE.place(alive))


def batch(n_queries: int, length: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "tokens": rng.integers(4, 30, (n_queries, length)),
        "mask": np.ones((n_queries, length), dtype=bool),
        "query_embedding": rng.standard_normal((n_queries, 3), np.float32),
        "filter_start": np.zeros(n_queries, dtype=np.int32),
    }


def test_a_padded_batch_gives_what_it_gives_alone(session: Resident[ort.InferenceSession]) -> None:
    captured = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH)
    plain = PlainSearch(session, DEVICE, BEAM_WIDTH)
    tries = [bound(0), bound(1)]
    for seed, (n_queries, length) in enumerate([(1, 4), (3, 9), (4, 16), (3, 17), (3, 9), (1, 4)]):
        for trie in tries:
            feeds = batch(n_queries, length, seed)
            for found, expected in zip(
                captured.run(trie, feeds, []), plain.run(trie, feeds, []), strict=True
            ):
                np.testing.assert_allclose(found, expected, atol=2e-2)  # sums in float16
                assert len(found) == n_queries


def test_an_answer_is_not_written_over_by_the_next(session: Resident[ort.InferenceSession]) -> None:
    search, trie = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH), bound(0)
    first = search.run(trie, batch(2, 5, 1), [])
    kept = [array.copy() for array in first]
    search.run(trie, batch(2, 5, 2), [])
    for array, expected in zip(first, kept, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_filters_hold(session: Resident[ort.InferenceSession]) -> None:
    search, trie = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH), bound(0)
    feeds = batch(2, 5, 1)
    nothing = np.zeros(len(trie.alive), dtype=bool)
    feeds["filter_start"] = np.array([0, len(trie.alive)], dtype=np.int32)
    _, _, leaves, _ = search.run(trie, feeds, [nothing])
    assert (leaves[0] >= 0).any()
    assert (leaves[1] == -1).all()


def test_past_the_most_captures_batches_run_as_they_come(
    session: Resident[ort.InferenceSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.searches.MOST_CAPTURES", 1)
    search, trie = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH), bound(0)
    for n_queries in (1, 2, 1, 5):
        found = search.run(trie, batch(n_queries, 5, 1), [])
        assert len(found[0]) == n_queries


def test_another_offer_is_seen_and_nothing_is_captured_anew(
    session: Resident[ort.InferenceSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.searches.MOST_CAPTURES", 1)
    search, full = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH), bound(0)
    feeds = batch(2, 5, 1)
    found = search.run(full, feeds, [])[2]
    nothing = np.zeros(len(full.alive), dtype=bool)
    empty = replace(full, alive=nothing, alive_on_device=DEVICE.place(nothing))
    for _ in range(2):  # searches of both offers may be under way side by side
        assert (search.run(empty, feeds, [])[2] == -1).all()
        np.testing.assert_array_equal(search.run(full, feeds, [])[2], found)


def test_sessions_go_with_the_tries_that_they_captured(session: Resident[ort.InferenceSession]) -> None:
    loaded: list[weakref.ref[Any]] = []

    class Session:
        """Cannot be told from onnxruntime's but for its end."""

        def __getattr__(self, name: str) -> Any:
            return getattr(session.value, name)

    def load() -> Any:
        own = Resident(DEVICE, Session)
        loaded.append(weakref.ref(own.value))
        return own

    search = CapturedSearch(load, DEVICE, BEAM_WIDTH)
    feeds, plain = batch(3, 5, 1), PlainSearch(session, DEVICE, BEAM_WIDTH)
    for seed in range(20):
        trie = bound(seed)
        for found, expected in zip(search.run(trie, feeds, []), plain.run(trie, feeds, []), strict=True):
            np.testing.assert_allclose(found, expected, atol=2e-2)
    del trie
    gc.collect()
    DEVICE.run(lambda: None)  # the device's owner frees what it is given back, one after another
    assert [own() is not None for own in loaded] == [False, False, True]


def test_every_size_that_is_captured_is_warmed_up(session: Resident[ort.InferenceSession]) -> None:
    search, trie = CapturedSearch(lambda: session, DEVICE, BEAM_WIDTH), bound(0)
    for n_queries, length in search.first_batches(max_batch=6, longest=40):
        search.run(trie, batch(n_queries, length, 1), [])
    (captures,) = search._captures.values()
    before = set(captures.by_size)
    for n_queries in range(1, 7):
        for length in range(1, 41):
            search.run(trie, batch(n_queries, length, 1), [])
    assert set(captures.by_size) == before


def graph(width: int, precision: str) -> Graph:
    return Graph(f"{width}{precision}", "", width, precision, 23, CUDA if precision == "fp16" else CPU)


GRAPHS = [graph(8, "fp32"), graph(8, "int8"), graph(4, "fp32"), graph(4, "fp16")]


@pytest.mark.parametrize(
    ("provider", "precision", "chosen"),
    [
        (CPU, "auto", {4: "fp32", 8: "int8"}),
        (CUDA, "auto", {4: "fp16", 8: "fp32"}),
        (CPU, "fp32", {4: "fp32", 8: "fp32"}),
    ],
)
def test_the_fastest_graph_is_chosen_or_the_one_asked_for(
    provider: str, precision: str, chosen: dict[int, str]
) -> None:
    found = choose_graphs(GRAPHS, provider, precision)
    assert list(found) == [4, 8]
    assert {width: graph.precision for width, graph in found.items()} == chosen


def test_a_precision_that_was_not_exported_is_named() -> None:
    with pytest.raises(ServiceError, match="no graph of beam width 4 in int8, only in fp32, fp16; export it"):
        choose_graphs(GRAPHS, CPU, "int8")


def test_the_files_of_a_bundle_name_their_provider(bundles: Path) -> None:
    assert {graph.provider for graph in Manifest.read(bundles / "sft").graphs} == {CPU}
