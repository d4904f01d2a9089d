"""BM25 over some items, held against bm25s over all of them."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid import SidError
from sid.lexical import K1, B, LexicalIndex, singular, singulars_of, trigrams_of

WORDS = ("drill", "drills", "Bits", "box", "boxes", "red", "the", "9", "Étagère")
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), min_size=1, max_size=12)


@given(texts, st.lists(st.sampled_from((*WORDS, "unknown")), max_size=5).map(" ".join), st.randoms())
def test_scores_are_those_of_bm25s(catalogue: list[str], query: str, random: object) -> None:
    index = LexicalIndex.from_texts(catalogue)
    items = np.asarray([row for row in range(len(catalogue)) if random.random() < 0.7])  # type: ignore[attr-defined]
    found = index.scores(index.query(query), items.astype(np.int32))
    assert found.dtype == np.float32
    for field, (cut, known) in enumerate(((singulars_of, index.words), (trigrams_of, index.trigrams))):
        terms = [term for term in cut(query) if term in known]
        if not terms:
            assert not found[:, field].any()
            continue
        oracle = bm25s.BM25(k1=K1, b=B, method="lucene")
        oracle.index([cut(text) for text in catalogue], show_progress=False)
        expected = oracle.get_scores(terms)[items.astype(int)]
        np.testing.assert_allclose(found[:, field], expected, rtol=1e-5, atol=1e-6)


@given(texts, st.integers(1, 4), st.randoms())
def test_typical_words_have_the_largest_parts_of_the_divergence(
    catalogue: list[str], most: int, random: Any
) -> None:
    items = [row for row in range(len(catalogue)) if random.random() < 0.5]
    index = LexicalIndex.from_texts(catalogue)
    found = index.typical_words(np.array(items, dtype=np.int64), most)
    words = [set(singulars_of(text)) for text in catalogue]
    parts = {}
    for word in set().union(*words):
        n_of_items = sum(word in words[row] for row in items)
        if n_of_items > 1:
            p, q = n_of_items / len(items), sum(word in of_text for of_text in words) / len(words)
            parts[word] = p * math.log(p / q)
    telling = sorted((part for part in parts.values() if part > 1e-9), reverse=True)[:most]
    assert [parts[word] for word in found[: len(telling)]] == pytest.approx(telling)
    assert all(abs(parts[word]) < 1e-9 for word in found[len(telling) :])  # rounded up from 0
    assert len(set(found)) == len(found)


def test_a_word_asked_twice_counts_twice() -> None:
    index = LexicalIndex.from_texts(["red drill", "blue drill"])
    rows = np.arange(2)
    once, twice = (index.scores(index.query(query), rows) for query in ("red", "red red"))
    np.testing.assert_allclose(twice, 2 * once)


def test_items_may_repeat_and_stand_in_any_order() -> None:
    index = LexicalIndex.from_texts(["red drill", "", "blue saw"])
    scores = index.scores(index.query("saw red"), np.array([2, 0, 1, 2]))
    assert (scores[0] == scores[3]).all()
    assert (scores[0] > 0).all()
    assert (scores[1] > 0).all()
    assert not scores[2].any()


@pytest.mark.parametrize(
    ("word", "expected"),
    [("batteries", "battery"), ("boxes", "boxe"), ("glass", "glass"), ("drills", "drill"), ("bus", "bus")],
)
def test_singular(word: str, expected: str) -> None:
    assert singular(word) == expected


@given(texts)
def test_what_is_saved_is_read_back(catalogue: list[str]) -> None:
    import tempfile

    index = LexicalIndex.from_texts(catalogue)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lexical.npz"
        index.save(path)
        loaded = LexicalIndex.load(path)
    assert (loaded.words, loaded.trigrams) == (index.words, index.trigrams)
    for name in ("indptr", "columns", "frequencies", "lengths", "idf"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(index, name))
    np.testing.assert_array_equal(loaded.weights(), index.weights())


@given(texts, texts, texts, st.randoms())
def test_what_is_appended_counts_like_what_was_there(
    first: list[str], second: list[str], third: list[str], random: Any
) -> None:
    """The oracle: an index from scratch over the items that were not replaced."""
    catalogue = first + second + third
    index = LexicalIndex.from_texts(first)
    before = index.weights()
    grown = index.append(second)
    replaced = [row for row in range(len(first + second)) if random.random() < 0.3]
    whole = grown.append(third, np.array(replaced, dtype=np.int64))
    kept = [row for row in range(len(catalogue)) if row not in replaced]
    scratch = LexicalIndex.from_texts([catalogue[row] for row in kept])
    for query in catalogue:
        np.testing.assert_allclose(
            whole.scores(whole.query(query), np.array(kept)),
            scratch.scores(scratch.query(query), np.arange(len(kept))),
            rtol=1e-6,
            atol=1e-6,
        )
    np.testing.assert_array_equal(index.weights(), before)


def test_two_indices_may_grow_from_one() -> None:
    index = LexicalIndex.from_texts(["red drill"] * 8).append(["red"])
    one, other = index.append(["blue saw"]), index.append(["green"])
    for grown, text in ((one, "blue saw"), (other, "green")):
        expected = LexicalIndex.from_texts([*["red drill"] * 8, "red", text])
        np.testing.assert_array_equal(grown.weights(), expected.weights())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexical.npz"
    np.savez(path, words=np.zeros(1, np.uint8))
    with pytest.raises(SidError, match="holds no lexical index"):
        LexicalIndex.load(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    index = LexicalIndex.from_texts(["red drill"])
    path = tmp_path / "lexical.npz"
    replace(index, columns=index.columns + index.n_columns).save(path)
    with pytest.raises(SidError, match="outside the vocabulary"):
        LexicalIndex.load(path)
