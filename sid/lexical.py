"""BM25 over the items that a search retrieved, with NumPy alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError
from sid.tfidf import words_of

K1, B = 1.5, 0.75  # saturation of a word's frequency, and how far a text's length counts


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


@dataclass(frozen=True)
class LexicalIndex:
    """What BM25 gives each word of each item, laid out by item: a few items are scored at little cost.

    Lucene's variant: a word w with frequency tf in an item gets idf(w) · tf / (tf + k1 (1 − b + b · length /
    mean length)), where idf(w) = ln(1 + (n − df + ½) / (df + ½)) and df items of n have w.

    Attributes:
        words: the vocabulary, in the singular.
        indptr: int64 [n_items + 1]; item ``i`` owns the entries ``indptr[i]:indptr[i + 1]``.
        columns: int32 [n_entries], the word of each entry, ascending within an item.
        weights: float32 [n_entries].
    """

    words: tuple[str, ...]
    indptr: NDArray[np.int64]
    columns: NDArray[np.int32]
    weights: NDArray[np.float32]

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> "LexicalIndex":
        """Weigh the words of all items."""
        numbers: dict[str, int] = {}
        columns: list[int] = []
        counts: list[int] = []
        n_words, n_entries = np.empty(len(texts)), np.empty(len(texts), np.int64)
        for row, text in enumerate(texts):
            found = Counter(numbers.setdefault(word, len(numbers)) for word in singulars_of(text))
            entries = sorted(found.items())
            columns.extend(column for column, _ in entries)
            counts.extend(count for _, count in entries)
            n_words[row], n_entries[row] = found.total(), len(entries)
        indptr = np.concatenate([[0], np.cumsum(n_entries)]).astype(np.int64)
        column_of_entry = np.asarray(columns, dtype=np.int32)
        frequency = np.asarray(counts, dtype=np.float64)
        n_items_with = np.bincount(column_of_entry, minlength=len(numbers))
        idf = np.log1p((len(texts) - n_items_with + 0.5) / (n_items_with + 0.5))
        relative_length = n_words / n_words.mean() if n_words.any() else n_words
        saturation = K1 * (1 - B + B * np.repeat(relative_length, n_entries))
        weights = idf[column_of_entry] * frequency / (frequency + saturation)
        return cls(tuple(numbers), indptr, column_of_entry, weights.astype(np.float32))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.indptr) - 1

    def query(self, text: str) -> NDArray[np.int32]:
        """The words of a query that some item has, each as often as it stands there: int32 [m]."""
        known = [self._column[word] for word in singulars_of(text) if word in self._column]
        return np.asarray(known, dtype=np.int32)

    def scores(self, query: NDArray[np.int32], items: NDArray[np.integer]) -> NDArray[np.float32]:
        """Score items.

        Args:
            query: from :meth:`query`.
            items: int [n], item rows.

        Returns:
            float32 [n]; 0 for an item that shares no word with the query.
        """
        if not len(query) or not len(items):
            return np.zeros(len(items), dtype=np.float32)
        lengths = self.indptr[items + 1] - self.indptr[items]
        ends = np.cumsum(lengths)
        entries = np.arange(ends[-1]) + np.repeat(self.indptr[items] - (ends - lengths), lengths)
        columns, weights = self.columns[entries], self.weights[entries]
        shared = np.zeros(len(columns), dtype=np.float32)
        for word in query:  # a few words; a lookup table would be as long as the vocabulary
            shared += columns == word
        hits = np.flatnonzero(shared)
        row_of_hit = np.searchsorted(ends, hits, side="right")
        return np.bincount(row_of_hit, shared[hits] * weights[hits], len(items)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the index as an ``.npz``."""
        text = np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8)
        np.savez(path, words=text, indptr=self.indptr, columns=self.columns, weights=self.weights)

    @classmethod
    def load(cls, path: Path) -> "LexicalIndex":
        """Read an index written by :meth:`save`; never unpickles.

        Raises:
            SidError: if the file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(path)
        try:
            text = arrays["words"].tobytes().decode()
            index = cls(
                tuple(text.split("\n")) if text else (),
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
        n_entries, n_words = len(self.columns), len(self.words)
        if len(self.weights) != n_entries or not len(self.indptr) or self.indptr[-1] != n_entries:
            raise ValueError("its arrays do not fit each other")
        if self.indptr[0] != 0 or (np.diff(self.indptr) < 0).any():
            raise ValueError("its items do not follow one another")
        if n_entries and not 0 <= self.columns.min() <= self.columns.max() < n_words:
            raise ValueError("an entry names a word outside the vocabulary")

    @cached_property
    def _column(self) -> dict[str, int]:
        return {word: column for column, word in enumerate(self.words)}
