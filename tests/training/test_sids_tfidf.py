"""The fitted embedder computes what scikit-learn's own transformers compute."""

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from training.data.errors import DataError
from training.sids.tfidf import fit_tfidf, tfidf_vectorizer

TITLES = [
    "Red running shoes size 42",
    "Blue running shoes size 38, wide",
    "Crème brûlée torch, stainless steel",
    "Stainless steel pan 12 in.",
    "跑步鞋 红色 42码",
    "Running Running RUNNING socks",
    "Garden hose 1/2 in. x 50 ft.",
    "Café table (round), steel",
]
QUERIES = ["red shoes", "creme brulee", "RUNNING", "steel steel pan", "跑步鞋", "unheard-of", "", "!?"]


def test_embeddings_equal_those_of_scikit_learn() -> None:
    dim, seed = 6, 3
    vectorizer = tfidf_vectorizer()
    svd = TruncatedSVD(dim, random_state=seed).fit(vectorizer.fit_transform(TITLES))
    embedder = fit_tfidf(TITLES, dim, seed)
    for texts in (TITLES, QUERIES):
        expected = normalize(svd.transform(vectorizer.transform(texts)))
        np.testing.assert_allclose(embedder.embed(texts), expected, atol=1e-5)


def test_a_text_without_a_known_term_is_a_row_of_zeros() -> None:
    embedder = fit_tfidf(TITLES, 4, 0)
    assert not embedder.embed(["", "!?", "Ωμέγα"]).any()


def test_similar_titles_are_near() -> None:
    embedder = fit_tfidf(TITLES, 8, 0)
    query, *items = embedder.embed(["red runing shoe", *TITLES])
    assert np.argmax(items @ query) == 0


def test_a_small_catalogue_has_fewer_dimensions() -> None:
    assert fit_tfidf(TITLES, 128, 0).dim == len(TITLES)
    one = fit_tfidf(["one lamp"], 128, 0)
    np.testing.assert_allclose(np.linalg.norm(one.embed(["one lamp"])), 1, atol=1e-6)


def test_equal_seeds_give_equal_embedders() -> None:
    first, second = fit_tfidf(TITLES, 5, 7), fit_tfidf(TITLES, 5, 7)
    assert first.terms == second.terms
    np.testing.assert_array_equal(first.components, second.components)


def test_a_catalogue_without_words_is_refused() -> None:
    with pytest.raises(DataError, match="no item has a word"):
        fit_tfidf(["!!!", "---"], 8, 0)
