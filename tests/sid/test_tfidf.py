"""Texts become unit vectors, whatever they hold; agreement with scikit-learn is tested beside the fitting."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid import SidError, TfidfEmbedder
from sid import tfidf as module
from sid.tfidf import terms_of

TERMS = ("red", " re", "red ", "shoe", "跑步鞋", "creme", "hoe ")


def embedder() -> TfidfEmbedder:
    rng = np.random.default_rng(0)
    n_terms = len(TERMS)
    return TfidfEmbedder(
        TERMS,
        rng.uniform(1, 5, n_terms).astype(np.float32),
        rng.normal(size=(n_terms, 4)).astype(np.float32),
    )


def test_terms_are_words_and_their_character_ngrams() -> None:
    assert terms_of("Red!") == ["red", " re", "red", "ed ", " red", "red "]
    assert terms_of("a_b") == ["a", "b", " a ", " b "]


@pytest.mark.parametrize(
    ("text", "same"),
    [("CRÈME", "creme"), ("Ｒｅｄ", "red"), ("red-shoe", "red shoe"), ("½", "1 2"), ("跑步鞋\n", "跑步鞋")],
)
def test_case_accents_and_width_are_folded(text: str, same: str) -> None:
    assert terms_of(text) == terms_of(same)


@given(st.lists(st.one_of(st.text(), st.sampled_from(["red shoe", "Crème red red", ""]))))
def test_rows_are_unit_or_zero(texts: list[str]) -> None:
    vectors = embedder().embed(texts)
    assert vectors.shape == (len(texts), 4)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    known = np.array([any(term in TERMS for term in terms_of(text)) for text in texts], dtype=bool)
    np.testing.assert_allclose(lengths, known.astype(float), atol=1e-6)


@given(st.lists(st.sampled_from(["red", "", "red red shoe", "creme 跑步鞋", "!!"]), max_size=8))
def test_a_text_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    alone = np.concatenate([embedder().embed([text]) for text in texts] or [np.zeros((0, 4), np.float32)])
    np.testing.assert_allclose(embedder().embed(texts), alone, atol=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 2)
        np.testing.assert_allclose(embedder().embed(texts), alone, atol=1e-6)


def test_the_files_keep_the_embedder(tmp_path: Path) -> None:
    embedder().save(tmp_path)
    loaded = TfidfEmbedder.load(tmp_path)
    assert loaded.terms == TERMS
    texts = ["red shoe", "跑步鞋", "nothing known"]
    np.testing.assert_array_equal(loaded.embed(texts), embedder().embed(texts))


@pytest.mark.parametrize(
    "changes",
    [
        {"terms": np.frombuffer(b"one", np.uint8)},
        {"terms": np.frombuffer(b"\xff\n\n\n\n\n\n", np.uint8)},
        {"idf": np.zeros(3, np.float32)},
        {"components": np.zeros(7, np.float32)},
    ],
)
def test_arrays_that_do_not_match_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    embedder().save(tmp_path)
    with np.load(tmp_path / "tfidf.npz") as arrays:
        given_arrays = dict(arrays)
    np.savez(tmp_path / "tfidf.npz", **{**given_arrays, **changes})
    with pytest.raises(SidError, match="holds no TF-IDF embedder"):
        TfidfEmbedder.load(tmp_path)


def test_a_missing_embedder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SidError, match=r"tfidf\.npz not found"):
        TfidfEmbedder.load(tmp_path)
