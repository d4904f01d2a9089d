"""Beam search against brute force, a plain-Python beam search, and itself on single queries."""

import itertools
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sid import SidTable, Trie
from training import search
from training.model import Decoder, DecoderConfig, Prompts
from training.search import UNFILLED, Beams, TrieTree, constrained_search, top, unconstrained_search

VOCABULARY = 20
CODEBOOKS = (5, 3, 4)
Sid = tuple[int, ...]


def make_decoder(codebook_sizes: tuple[int, ...] = CODEBOOKS, seed: int = 0, scale: float = 10.0) -> Decoder:
    torch.manual_seed(seed)
    config = DecoderConfig(
        vocab_size=VOCABULARY,
        codebook_sizes=codebook_sizes,
        embedding_dim=6,
        vector_dim=5,
        d_model=16,
        n_layers=2,
        n_heads=2,
        n_kv_heads=1,
        head_dim=8,
        d_ff=24,
    )
    decoder = Decoder(config)
    with torch.no_grad():  # the initial weights are so small that all codes would be about equally likely
        for name, weight in decoder.named_parameters():
            if name == "query_head.weight":
                weight.normal_(std=0.2)
            elif "norm" not in name:
                weight.mul_(scale)
    return decoder


DECODER = make_decoder()


def table_of(sids: Iterable[Sid], codebook_sizes: tuple[int, ...] = CODEBOOKS) -> SidTable:
    rows = np.array(list(sids), dtype=np.int32).reshape(-1, len(codebook_sizes))
    return SidTable.from_item_codes(rows, codebook_sizes)


def embedding_of(query: Iterable[int]) -> Tensor:
    """An embedding of the query's own."""
    rng = np.random.default_rng([len(list(query)), *query])
    return torch.from_numpy(rng.standard_normal(6).astype(np.float32))


def prompts(*rows: list[int]) -> Prompts:
    """Left-padded prompts [BOS] row [SEP]."""
    full = [[1, *row, 2] for row in rows]
    width = max(map(len, full))
    tokens = torch.tensor([[0] * (width - len(row)) + row for row in full])
    return Prompts(tokens, tokens != 0, torch.stack([embedding_of(row) for row in rows]))


@cache
def next_code_log_probs(decoder: Decoder, query: tuple[int, ...], prefix: Sid) -> list[float]:
    """Teacher forcing: the whole unpadded sequence in one causal pass, nothing cached or packed."""
    embedded = decoder.embed_tokens(torch.tensor([[1, *query, 2]]))
    embedded[:, -1] = embedded[:, -1] + decoder.query_projection(embedding_of(query))
    if prefix:
        embedded = torch.cat([embedded, decoder.embed_codes(torch.tensor([prefix]))], dim=1)
    length = embedded.shape[1]
    causal = torch.ones(1, length, length).tril().bool()
    with torch.no_grad():
        hidden, _ = decoder(embedded, torch.arange(length)[None], causal)
        return decoder.code_log_probs(hidden[0, -1], len(prefix)).double().tolist()


def brute_force(decoder: Decoder, query: list[int], sids: Iterable[Sid]) -> list[tuple[float, Sid]]:
    """Score every SID on its own in float64; best first, ties by SID."""
    scored = []
    for sid in sids:
        levels = (
            next_code_log_probs(decoder, tuple(query), sid[:level])[code] for level, code in enumerate(sid)
        )
        scored.append((-sum(levels), sid))
    return [(-cost, sid) for cost, sid in sorted(scored)]


def plain_beam_search(
    decoder: Decoder, query: list[int], sids: Iterable[Sid], k: int
) -> list[tuple[float, Sid]]:
    """Beam search with lists and sets, over teacher-forced scores."""
    beams: list[tuple[float, Sid]] = [(0.0, ())]
    sids = list(sids)
    for level in range(decoder.config.levels):
        prefixes = {sid[: level + 1] for sid in sids}
        extended = []
        for score, prefix in beams:
            log_probs = next_code_log_probs(decoder, tuple(query), prefix)
            extended += [
                (-(score + log_prob), (*prefix, code))
                for code, log_prob in enumerate(log_probs)
                if (*prefix, code) in prefixes
            ]
        extended.sort()
        beams = [(-cost, prefix) for cost, prefix in extended[:k]]
    return beams


def search_table(decoder: Decoder, queries: list[list[int]], table: SidTable, k: int) -> Beams:
    return constrained_search(decoder, prompts(*queries), TrieTree.from_trie(Trie.from_table(table)), k)


def assert_same(beams: Beams, row: int, expected: list[tuple[float, Sid]], table: SidTable) -> None:
    k, n = beams.log_probs.shape[1], len(expected)
    found = beams.sids[row, :n].numpy()
    np.testing.assert_allclose(beams.log_probs[row, :n], [score for score, _ in expected], atol=1e-4)
    scores = {sid: score for score, sid in expected}
    assert set(map(tuple, found.tolist())) == set(scores)
    # Order may differ from the oracle's only where scores are equal within rounding.
    np.testing.assert_allclose(
        [scores[tuple(sid)] for sid in found.tolist()], list(scores.values()), atol=1e-4
    )
    np.testing.assert_array_equal(beams.leaves[row, :n], table.find(found))
    assert (beams.leaves[row, n:] == -1).all() and (beams.sids[row, n:] == -1).all()
    np.testing.assert_array_equal(beams.log_probs[row, n:], np.full(k - n, UNFILLED, np.float32))


queries = st.lists(st.integers(4, VOCABULARY - 1), max_size=5)
sid_sets = st.sets(st.tuples(*(st.integers(0, size - 1) for size in CODEBOOKS)), min_size=1, max_size=30)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(sid_sets, queries, st.integers(0, 5))
def test_with_room_for_all_sids_the_ranking_is_the_brute_force_one(
    sids: set[Sid], query: list[int], spare: int
) -> None:
    table = table_of(sids)
    beams = search_table(DECODER, [query], table, len(sids) + spare)
    assert_same(beams, 0, brute_force(DECODER, query, sids), table)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(sid_sets, queries, st.integers(1, 12))
def test_narrow_beams_equal_a_plain_beam_search(sids: set[Sid], query: list[int], k: int) -> None:
    expected = plain_beam_search(DECODER, query, sids, k)
    table = table_of(sids)
    assert_same(search_table(DECODER, [query], table, k), 0, expected, table)


SKEWED = [(0, second, third) for second in range(3) for third in range(4)] + [(4, 2, 0)]
# The likeliest prefixes lead to one SID each, so the beam must not be filled from them alone.
NARROW = [(first, 1, 3) for first in range(5)]


@pytest.mark.parametrize("sids", [[(4, 2, 3)], SKEWED, NARROW], ids=["one item", "skewed", "narrow"])
@pytest.mark.parametrize("k", [1, 2, 4, 64])
def test_shapes_of_tries(sids: list[Sid], k: int) -> None:
    table = table_of(sids)
    assert_same(
        search_table(DECODER, [[5, 6]], table, k), 0, plain_beam_search(DECODER, [5, 6], sids, k), table
    )


@pytest.mark.parametrize("sizes", [(7,), (2, 9), (3, 3, 3, 3)])
def test_any_number_of_levels(sizes: tuple[int, ...]) -> None:
    decoder = make_decoder(sizes)
    sids = list(itertools.product(*map(range, sizes)))[::2]
    table = table_of(sids, sizes)
    assert_same(search_table(decoder, [[7]], table, 5), 0, plain_beam_search(decoder, [7], sids, 5), table)


def test_an_empty_trie_gives_no_beams() -> None:
    beams = search_table(DECODER, [[4], [5, 6]], table_of([]), 3)
    assert (beams.leaves == -1).all()
    assert (beams.log_probs == UNFILLED).all()
    assert beams.sids.shape == (2, 3, 3)


@pytest.mark.parametrize("k", [1, 5, 11, 60, 80])
def test_ties_go_to_the_smaller_leaf(k: int) -> None:
    uniform = make_decoder(scale=0.0)
    table = table_of(itertools.product(*map(range, CODEBOOKS)))
    beams = search_table(uniform, [[4], [8, 9]], table, k)
    expected = [leaf if leaf < table.n_leaves else -1 for leaf in range(k)]
    assert beams.leaves.tolist() == [expected, expected]


def test_left_padded_batches_equal_single_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK_ELEMENTS", 2 * 8 * 24)  # two queries at a time
    rows = [[4], [5, 6, 7, 8, 9], [], [10, 11], [19, 18, 17]]
    table = table_of(SKEWED + NARROW)
    batch = search_table(DECODER, rows, table, 8)
    for index, row in enumerate(rows):
        single = search_table(DECODER, [row], table, 8)
        assert batch.leaves[index].tolist() == single.leaves[0].tolist()
        torch.testing.assert_close(batch.log_probs[index], single.log_probs[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.query_vectors[index], single.query_vectors[0], atol=1e-4, rtol=0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(queries, st.sampled_from([1, 3, 8]), st.integers(1, 2**60 - 1))
def test_what_is_found_in_the_whole_is_found_in_its_parts(query: list[int], k: int, members: int) -> None:
    """So a catalogue can be cut into parts that are searched apart and merged by score."""
    sids = list(itertools.product(*map(range, CODEBOOKS)))
    parts = [[sid for number, sid in enumerate(sids) if members >> number & 1 == part] for part in (0, 1)]
    scores: dict[Sid, float] = {}
    for part in parts:
        beams = search_table(DECODER, [query], table_of(part), k)
        found = beams.leaves[0] >= 0
        scores |= zip(
            map(tuple, beams.sids[0, found].tolist()), beams.log_probs[0, found].tolist(), strict=True
        )
    whole = search_table(DECODER, [query], table_of(sids), k)
    for sid, log_prob in zip(map(tuple, whole.sids[0].tolist()), whole.log_probs[0].tolist(), strict=True):
        assert scores[sid] == pytest.approx(log_prob, abs=1e-4)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(queries, st.sampled_from([1, 3, 10, 60, 70]))
def test_unconstrained_search_ranges_over_all_codes(query: list[int], k: int) -> None:
    sids = list(itertools.product(*map(range, CODEBOOKS)))
    expected = plain_beam_search(DECODER, query, sids, k)
    assert_same(unconstrained_search(DECODER, prompts(query), k), 0, expected, table_of(sids))


def test_query_vectors_are_those_of_the_sep_state() -> None:
    query = prompts([4, 5])
    beams = search_table(DECODER, [[4, 5]], table_of(NARROW), 2)
    causal = torch.ones(1, 4, 4).tril().bool()
    with torch.no_grad():
        hidden, _ = DECODER(DECODER.embed_prompts(query), torch.arange(4)[None], causal)
        state = DECODER.query_head.weight @ hidden[0, -1]
        vector = state + DECODER.item_head.weight @ query.embeddings[0]
    assert query.mask.all()
    assert state.norm() > 0.1
    torch.testing.assert_close(beams.query_vectors[0], vector / vector.norm(), atol=1e-5, rtol=0)


def test_the_embedding_of_a_query_tells_its_answer() -> None:
    trie = TrieTree.from_trie(Trie.from_table(table_of(SKEWED)))
    tokens = torch.tensor([[1, 5, 6, 2]] * 3)
    embeddings = torch.stack([embedding_of([5]), embedding_of([6]), embedding_of([5])])
    beams = constrained_search(DECODER, Prompts(tokens, tokens > 0, embeddings), trie, 4)
    assert (beams.log_probs[0] - beams.log_probs[1]).abs().max() > 0.01
    assert (beams.query_vectors[0] - beams.query_vectors[1]).abs().max() > 0.01
    assert torch.equal(beams.log_probs[0], beams.log_probs[2])


def test_an_embedding_of_zeros_leaves_a_plain_causal_pass_over_the_tokens() -> None:
    trie = TrieTree.from_trie(Trie.from_table(table_of([(0, 1, 2), (4, 2, 3)])))
    tokens = torch.tensor([[1, 5, 6, 2]])
    beams = constrained_search(DECODER, Prompts(tokens, tokens > 0, torch.zeros(1, 6)), trie, 2)
    for row, sid in enumerate(beams.sids[0]):
        x = torch.cat([DECODER.embed_tokens(tokens), DECODER.embed_codes(sid[None])], dim=1)
        with torch.no_grad():
            hidden, _ = DECODER(x, torch.arange(7)[None], torch.ones(1, 7, 7).tril().bool())
            levels = [
                DECODER.code_log_probs(hidden[0, 3 + level], level)[code] for level, code in enumerate(sid)
            ]
        torch.testing.assert_close(beams.log_probs[0, row], torch.stack(levels).sum(), atol=1e-4, rtol=0)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=20), st.data())
def test_top_chooses_the_first_of_equals(scores: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(scores)))
    best = sorted(sorted(range(len(scores)), key=lambda index: -scores[index])[:k])
    assert top(torch.tensor([scores], dtype=torch.float32), k).tolist() == [best]
