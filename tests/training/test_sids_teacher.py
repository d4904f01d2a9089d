"""The teacher of pseudo-queries, against the score of every item for every query in float64."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sid import LexicalIndex
from training.sids.teacher import COSINE, TRIGRAMS, Teacher

WORDS = ("red", "blue", "lamp", "lamps", "shoe", "kettle", "garden", "hose", "rare")
FREQUENT = np.array([30, 20, 10, 8, 5, 4, 3, 2, 1]) / 83
N_ITEMS, DIM = 300, 5


def texts(rng: np.random.Generator, n: int, longest: int) -> list[str]:
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest), p=FREQUENT)) for _ in range(n)]


def dense(lexical: LexicalIndex, items: NDArray, queries: list[str], embeddings: NDArray) -> NDArray:
    """float64 [n_queries, n_items], from the formula of BM25 and the product of the vectors."""
    rows = np.arange(lexical.n_items)
    words = np.array([lexical.scores(lexical.query(query), rows) @ [1.0, TRIGRAMS] for query in queries])
    return words + COSINE * embeddings.astype(np.float64) @ items.T.astype(np.float64)


@pytest.mark.parametrize("postings", [1, 40, 4096], ids=["one by one", "some rounds", "at once"])
def test_it_names_the_items_with_the_highest_sums(monkeypatch: pytest.MonkeyPatch, postings: int) -> None:
    rng = np.random.default_rng(0)
    lexical = LexicalIndex.from_texts(texts(rng, N_ITEMS, 6))
    queries = [*texts(rng, 60, 4), "", "unheard of", "lmap"]
    items, embeddings = (rng.standard_normal((n, DIM)).astype(np.float32) for n in (N_ITEMS, len(queries)))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    embeddings *= rng.uniform(0, 0.5, (len(queries), 1)).astype(np.float32)
    embeddings[::7] = 0
    monkeypatch.setattr("training.sids.teacher.POSTINGS", postings)
    monkeypatch.setattr("training.sids.teacher.BLOCK_POSTINGS", 8 * postings)
    told: list[int] = []
    best = Teacher(lexical, items).best(queries, embeddings, told.append)

    assert best.dtype == np.int32
    assert all(len(set(row)) == 10 for row in best.tolist())
    scores = dense(lexical, items, queries, embeddings)
    # Equal texts have equal scores where nothing tells them apart: the scores decide, not the rows.
    found = np.take_along_axis(scores, best.astype(np.int64), axis=1)
    np.testing.assert_allclose(found, -np.sort(-scores, axis=1)[:, :10], atol=1e-5)
    assert sum(told) == len(queries)


def test_a_catalogue_smaller_than_the_depth_is_ranked_whole() -> None:
    lexical = LexicalIndex.from_texts(["red lamp", "blue lamp", "shoe"])
    items = np.eye(3, dtype=np.float32)
    best = Teacher(lexical, items).best(["blue"], np.zeros((1, 3), np.float32), lambda _: None)
    assert best.shape == (1, 3)
    assert best[0, 0] == 1


def test_of_no_queries_none_are_ranked() -> None:
    lexical = LexicalIndex.from_texts(["red lamp"])
    best = Teacher(lexical, np.ones((1, 2), np.float32)).best(
        [], np.zeros((0, 2), np.float32), lambda _: None
    )
    assert best.shape == (0, 1)
