"""Rankings of the baselines, judged by their formulas in plain Python."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.baselines import rank_by_bm25, rank_by_cosine

WORDS = ("red", "shoe", "lamp", "steel", "pan")
K1, B = 1.5, 0.75


def bm25_scores(texts: list[str], query: str) -> list[float]:
    """Robertson's formula as Lucene has it, term by term in float64."""
    counts = [Counter(text.split()) for text in texts]
    mean_length = sum(count.total() for count in counts) / len(texts)
    scores = []
    for count in counts:
        norm = K1 * (1 - B + B * count.total() / mean_length)
        score = 0.0
        for word in query.split():
            n_with = sum(word in other for other in counts)
            idf = math.log(1 + (len(texts) - n_with + 0.5) / (n_with + 0.5))
            score += idf * count[word] / (count[word] + norm)
        scores.append(score)
    return scores


def text(min_size: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(WORDS), min_size=min_size, max_size=6).map(" ".join)


@given(st.lists(text(1), min_size=1, max_size=12), text(0), st.integers(1, 15))
def test_bm25_follows_its_formula(texts: list[str], query: str, depth: int) -> None:
    expected = bm25_scores(texts, query)
    ranked = rank_by_bm25(texts, [query], depth)[query]
    assert len(ranked) == min(depth, sum(score > 0 for score in expected))
    assert len(set(ranked)) == len(ranked)
    # In float32 near-equal scores may change places, so scores are compared rather than rows.
    best = sorted(expected, reverse=True)[: len(ranked)]
    assert [expected[row] for row in ranked] == pytest.approx(best, abs=1e-5)


def test_bm25_meets_plurals_accents_and_case() -> None:
    texts = ["Crème brûlée torches", "Garden hose", "Batteries AA"]
    ranked = rank_by_bm25(texts, ["CREME torch", "hoses", "battery", "glass"], 10)
    assert ranked == {"CREME torch": [0], "hoses": [1], "battery": [2], "glass": []}


def test_bm25_breaks_ties_by_row() -> None:
    assert rank_by_bm25(["red pan", "lamp", "red pan"], ["red"], 10) == {"red": [0, 2]}


@pytest.mark.parametrize("query", ["", "!?", "跑步鞋", "unheard-of"])
def test_a_query_without_a_known_word_finds_nothing(query: str) -> None:
    assert rank_by_bm25(["red shoe", "lamp"], [query], 10) == {query: []}


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(0, 300), st.integers(1, 40))
def test_cosines_rank_as_float64_does(seed: int, n_items: int, n_queries: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    items, asked = (rng.normal(size=(n, 4)).astype(np.float32) for n in (n_items, n_queries))
    queries = [f"query {number}" for number in range(n_queries)]

    ranked = rank_by_cosine(items, asked, queries, depth)

    assert list(ranked) == queries
    cosines = asked.astype(np.float64) @ items.T.astype(np.float64)
    for number, query in enumerate(queries):
        rows = ranked[query]
        assert len(set(rows)) == len(rows) == min(depth, n_items)
        best = sorted(cosines[number], reverse=True)[: len(rows)]
        np.testing.assert_allclose(cosines[number, rows], best, atol=1e-5)
