"""BM25 over the items that a search retrieved, by words and by trigrams, with NumPy alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError
from sid.tfidf import words_of

K1, B = 1.5, 0.75  # saturation of a term's frequency, and how far a text's length counts
GRAM = 3
FIELDS = 2  # words, trigrams


def singulars_of(text: str) -> list[str]:
    """Cut a text into words in the singular, repeats included."""
    return [singular(word) for word in words_of(text)]


def singular(word: str) -> str:
    """The S-stemmer of Harman, "How effective is suffixing?", JASIS 42(1), 1991: the first rule that fits."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word


def trigrams_of(text: str) -> list[str]:
    """Cut the words of a text, each between blanks, into runs of three characters: they meet misspellings."""
    grams: list[str] = []
    for word in words_of(text):
        padded = f" {word} "
        grams += [padded[start : start + GRAM] for start in range(len(padded) - GRAM + 1)]
    return grams


@dataclass(frozen=True)
class LexicalIndex:
    """What BM25 gives each term of each item, laid out by item: a few items are scored at little cost.

    The fields, words and trigrams, are weighed apart, each in Lucene's variant: a term w with frequency tf in
    an item gets idf(w) · tf / (tf + k1 (1 − b + b · length / mean length)), where df items of n have w and
    idf(w) = ln(1 + (n − df + ½) / (df + ½)).

    Attributes:
        words, trigrams: the vocabularies; trigrams are numbered on from the last word.
        indptr: int64 [n_items + 1]; item ``i`` owns the entries ``indptr[i]:indptr[i + 1]``.
        columns: int32 [n_entries], the term of each entry.
        weights: float32 [n_entries].
    """

    words: tuple[str, ...]
    trigrams: tuple[str, ...]
    indptr: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> "LexicalIndex":
        """Weigh the terms of all items."""
        words, trigrams = _weigh(texts, singulars_of), _weigh(texts, trigrams_of)
        lengths = words.lengths + trigrams.lengths
        columns = np.concatenate([words.columns, trigrams.columns + len(words.terms)])
        # Put each item's words and trigrams next to one another.
        items = np.concatenate([np.repeat(np.arange(len(texts)), part.lengths) for part in (words, trigrams)])
        order = np.argsort(items, kind="stable")
        return cls(
            words=words.terms,
            trigrams=trigrams.terms,
            indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            columns=columns[order].astype(np.int32),
            weights=np.concatenate([words.weights, trigrams.weights])[order],
        )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.indptr) - 1

    @property
    def n_terms(self) -> int:
        """Words and trigrams together."""
        return len(self.words) + len(self.trigrams)

    def query(self, text: str) -> NDArray[np.int32]:
        """The terms of a query that some item has, each as often as it stands there: int32 [m]."""
        words, trigrams = self._columns
        known = [words[word] for word in singulars_of(text) if word in words]
        known += [trigrams[gram] for gram in trigrams_of(text) if gram in trigrams]
        return np.asarray(known, dtype=np.int32)

    def scores(self, query: NDArray[np.int32], items: NDArray[np.integer]) -> NDArray[np.float32]:
        """Score items.

        Args:
            query: from :meth:`query`.
            items: int [n], item rows.

        Returns:
            float32 [n, 2], BM25 of words and of trigrams; 0 for an item that shares none with the query.
        """
        if not len(query) or not len(items):
            return np.zeros((len(items), FIELDS), dtype=np.float32)
        starts, stops = self.indptr[items], self.indptr[items + 1]
        # Of the many entries only columns are read, slice by slice: an index of entries would be as long.
        columns = np.concatenate(
            [self.columns[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        )
        is_asked = np.zeros(self.n_terms, dtype=bool)
        is_asked[query] = True
        hits = np.flatnonzero(is_asked[columns])
        columns = columns[hits]
        ends = np.cumsum(stops - starts)
        rows = np.searchsorted(ends, hits, side="right")
        times = np.bincount(query, minlength=self.n_terms)[columns]
        gains = times * self.weights[hits + (stops - ends)[rows]]
        cells = FIELDS * rows + (columns >= len(self.words))
        return np.bincount(cells, gains, FIELDS * len(items)).astype(np.float32).reshape(-1, FIELDS)

    def save(self, path: Path) -> None:
        """Write the index as an ``.npz``."""
        words, trigrams = (
            np.frombuffer("\n".join(terms).encode(), dtype=np.uint8) for terms in (self.words, self.trigrams)
        )
        np.savez(
            path,
            words=words,
            trigrams=trigrams,
            indptr=self.indptr,
            columns=self.columns,
            weights=self.weights,
        )

    @classmethod
    def load(cls, path: Path) -> "LexicalIndex":
        """Read an index written by :meth:`save`; never unpickles.

        Raises:
            SidError: if the file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(path)
        try:
            words, trigrams = (arrays[name].tobytes().decode() for name in ("words", "trigrams"))
            index = cls(
                tuple(words.split("\n")) if words else (),
                tuple(trigrams.split("\n")) if trigrams else (),
                arrays["indptr"],
                arrays["columns"],
                arrays["weights"],
            )
            index._check()
        except (KeyError, ValueError) as error:
            raise SidError(
                f"{path} holds no lexical index ({error}); write it with 'radsearch sids'"
            ) from error
        return index

    def _check(self) -> None:
        n_entries = len(self.columns)
        if len(self.weights) != n_entries or not len(self.indptr) or self.indptr[-1] != n_entries:
            raise ValueError("its arrays do not fit each other")
        if self.indptr[0] != 0 or (np.diff(self.indptr) < 0).any():
            raise ValueError("its items do not follow one another")
        if sum(map(len, self._columns)) != self.n_terms:
            raise ValueError("a term stands twice in its vocabulary")
        if n_entries and not 0 <= self.columns.min() <= self.columns.max() < self.n_terms:
            raise ValueError("an entry names a term outside the vocabulary")

    @cached_property
    def _columns(self) -> tuple[dict[str, int], dict[str, int]]:
        n_words = len(self.words)
        return (
            {word: column for column, word in enumerate(self.words)},
            {gram: n_words + column for column, gram in enumerate(self.trigrams)},
        )


@dataclass(frozen=True)
class _Field:
    """One field of an index, its entries by item."""

    terms: tuple[str, ...]
    lengths: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]


def _weigh(texts: Sequence[str], cut: Callable[[str], list[str]]) -> _Field:
    numbers: dict[str, int] = {}
    columns: list[int] = []
    counts: list[int] = []
    n_terms, n_entries = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    for row, text in enumerate(texts):
        found = Counter(numbers.setdefault(term, len(numbers)) for term in cut(text))
        columns.extend(found.keys())
        counts.extend(found.values())
        n_terms[row], n_entries[row] = found.total(), len(found)
    term_of_entry = np.asarray(columns, dtype=np.int32)
    frequency = np.asarray(counts, dtype=np.float64)
    n_items_with = np.bincount(term_of_entry, minlength=len(numbers))
    idf = np.log1p((len(texts) - n_items_with + 0.5) / (n_items_with + 0.5))
    relative_length = n_terms / n_terms.mean() if n_terms.any() else n_terms
    saturation = K1 * (1 - B + B * np.repeat(relative_length, n_entries))
    weights = idf[term_of_entry] * frequency / (frequency + saturation)
    return _Field(tuple(numbers), n_entries, term_of_entry, weights.astype(np.float32))
