"""The trie step alone, on scores that are exact: integers, so that ties are many and real."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.decode.judge_trie_step import N_STATES, UNIT, table_graph, table_prompts
from model_export.graph_search import DEAD
from model_export.session import Answers, GraphSession, Prompts
from sid import SidTable, Trie

LEVELS = 3


def prompts_of(scores: NDArray[np.int64]) -> Prompts:
    """Scores of codes whatever stands before them, int64 [B, LEVELS, V]."""
    return table_prompts(scores[:, :, None].repeat(N_STATES, axis=2))


@pytest.fixture(scope="module")
def search() -> Callable[[NDArray[np.int64], Trie, int], Answers]:
    """Search a trie by a table of scores, int64 [B, LEVELS, V]."""

    @cache
    def session(beam_width: int) -> GraphSession:
        return GraphSession(table_graph(LEVELS, beam_width), beam_width, threads=1)

    def run(scores: NDArray[np.int64], trie: Trie, beam_width: int) -> Answers:
        return session(beam_width).search(prompts_of(scores), trie)

    return run


def expected_leaves(table: SidTable, scores: NDArray[np.int64], beam_width: int) -> NDArray[np.int64]:
    """Level by level: prefixes by score, ties by prefix, the first K stay."""
    kept = np.arange(table.n_leaves)
    for level in range(LEVELS):
        prefixes, prefix_of_leaf = np.unique(table.codes[kept, : level + 1], axis=0, return_inverse=True)
        totals = scores[np.arange(level + 1), prefixes].sum(axis=1)
        best = np.lexsort((np.arange(len(prefixes)), -totals))[:beam_width]
        if level == LEVELS - 1:
            return kept[best]
        kept = kept[np.isin(prefix_of_leaf.ravel(), best)]
    raise AssertionError


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    codebook=st.integers(1, 12),
    n_items=st.integers(1, 300),
    largest=st.sampled_from([0, 1, 3, 50]),
    beam_width=st.sampled_from([1, 2, 5, 20, 64]),
)
def test_of_equal_prefixes_the_first_are_kept(
    search: Callable[[NDArray[np.int64], Trie, int], Answers],
    seed: int,
    codebook: int,
    n_items: int,
    largest: int,
    beam_width: int,
) -> None:
    rng = np.random.default_rng(seed)
    table = SidTable.from_item_codes(rng.integers(0, codebook, (n_items, LEVELS)), (codebook,) * LEVELS)
    scores = rng.integers(-largest, 1, (3, LEVELS, codebook))
    answers = search(scores, Trie.from_table(table), beam_width)
    for row in range(len(scores)):
        expected = expected_leaves(table, scores[row], beam_width)
        totals = scores[row][np.arange(LEVELS), table.codes[expected]].sum(axis=1)
        padding = beam_width - len(expected)
        np.testing.assert_array_equal(answers.leaves[row], [*expected, *[-1] * padding])
        np.testing.assert_array_equal(answers.log_probs[row], np.float32([*UNIT * totals, *[DEAD] * padding]))


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    widths=st.tuples(*[st.integers(1, 40)] * (LEVELS - 1)),
    beam_width=st.sampled_from([1, 5, 64]),
)
def test_any_chunk_gives_the_same_answers(
    search: Callable[[NDArray[np.int64], Trie, int], Answers],
    seed: int,
    widths: tuple[int, ...],
    beam_width: int,
) -> None:
    rng = np.random.default_rng(seed)
    trie = Trie.from_table(SidTable.from_item_codes(rng.zipf(1.3, (200, LEVELS)).clip(max=12) - 1, (12,) * 3))
    scores = rng.integers(-3, 1, (2, LEVELS, 12))
    expected = search(scores, trie, beam_width)
    with pytest.MonkeyPatch.context() as patch:
        for level, width in enumerate(widths, start=1):
            patch.setitem(trie.graph_inputs, f"slots_{level}", np.arange(width, dtype=np.int32))
        found = search(scores, trie, beam_width)
    np.testing.assert_array_equal(found.leaves, expected.leaves)
    np.testing.assert_array_equal(found.log_probs, expected.log_probs)


def test_equal_sums_of_different_beams_come_by_leaf(
    search: Callable[[NDArray[np.int64], Trie, int], Answers],
) -> None:
    """The better prefix stands behind the worse one in the trie; their children tie."""
    table = SidTable.from_item_codes(np.asarray([[0, 0, 0], [1, 1, 0]]), (2, 2, 2))
    scores = np.asarray([[[-3, -1], [-1, -3], [0, 0]]])
    answers = search(scores, Trie.from_table(table), 2)
    np.testing.assert_array_equal(answers.log_probs, [[-4 * UNIT, -4 * UNIT]])
    np.testing.assert_array_equal(answers.leaves, [[0, 1]])
    np.testing.assert_array_equal(answers.sids[0], table.codes)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_items=st.integers(0, 200),
    skew=st.sampled_from([1.1, 1.5, 4.0]),
    beam_width=st.sampled_from([1, 5, 64]),
)
def test_fixed_sizes_give_the_same_answers(
    search: Callable[[NDArray[np.int64], Trie, int], Answers],
    seed: int,
    n_items: int,
    skew: float,
    beam_width: int,
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.zipf(skew, (n_items, LEVELS)).clip(max=12) - 1
    trie = Trie.from_table(SidTable.from_item_codes(codes, (12,) * LEVELS))
    scores = rng.integers(-3, 1, (2, LEVELS, 12))
    found = captured_session(beam_width).search(prompts_of(scores), trie)
    expected = search(scores, trie, beam_width)
    np.testing.assert_array_equal(found.leaves, expected.leaves)
    np.testing.assert_array_equal(found.log_probs, expected.log_probs)


@cache
def captured_session(beam_width: int) -> GraphSession:
    return GraphSession(table_graph(LEVELS, beam_width, (12,) * LEVELS), beam_width, threads=1)
