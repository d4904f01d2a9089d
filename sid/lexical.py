"""BM25 over the items that a search retrieved, by words and by trigrams, with NumPy alone."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError
from sid.growth import extended
from sid.postings import runs
from sid.tfidf import words_of

K1, B = 1.5, 0.75  # saturation of a term's frequency, and how far a text's length counts
GRAM = 3
FIELDS = 2  # words, trigrams
MOST = np.iinfo(np.uint16).max  # a term more frequent in a text than that gains nothing by it


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
class _Totals:
    """What BM25 knows of all texts together.

    Attributes:
        n_texts: how many count.
        n_with: int64 [n_columns], those of them that have a term.
        lengths: int64 [2], terms in all of them, repeats included.
    """

    n_texts: int
    n_with: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def idf(self) -> NDArray[np.float64]:
        """float64 [n_columns]."""
        weights: NDArray[np.float64] = np.log1p((self.n_texts - self.n_with + 0.5) / (self.n_with + 0.5))
        return weights

    def per_mean_length(self) -> NDArray[np.float64]:
        """float64 [2], what a length is multiplied by to be relative to the mean."""
        return self.n_texts / np.maximum(self.lengths, 1)


@dataclass(frozen=True)
class LexicalIndex:
    """Terms and their frequencies, laid out by item: a few items are scored at little cost.

    The fields, words and trigrams, are weighed apart, each by BM25 in Lucene's variant: a term w with
    frequency tf in an item gets idf(w) · tf / (tf + k1 (1 − b + b · length / mean length)), where df items of
    n have w and idf(w) = ln(1 + (n − df + ½) / (df + ½)). Weights are worked out for the entries that a query
    asks for: of what is stored, nothing changes when items are added.

    Attributes:
        words, trigrams: column of each term. Words have the even ones, trigrams the odd ones, each in the
            order in which they were first met, so that both vocabularies can grow.
        indptr: int64 [n_items + 1]; item ``i`` owns the entries ``indptr[i]:indptr[i + 1]``.
        columns: int32 [n_entries], the term of each entry.
        frequencies: uint16 [n_entries], how often it stands in the item, ≥ 1.
        lengths: int32 [n_items, 2], terms of each item by field, repeats included.
        totals: of the items that count; those that others replaced do not.
        idf: float32 [n_columns], from the totals.
    """

    words: Mapping[str, int]
    trigrams: Mapping[str, int]
    indptr: NDArray[np.int64]
    columns: NDArray[np.int32]
    frequencies: NDArray[np.uint16]
    lengths: NDArray[np.int32]
    totals: _Totals
    idf: NDArray[np.float32]

    @classmethod
    def from_texts(cls, texts: Sequence[str]) -> "LexicalIndex":
        """Index the texts of all items."""
        nothing = cls._of({}, {}, np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.uint16))
        return nothing.append(texts)

    @classmethod
    def _of(
        cls,
        words: Mapping[str, int],
        trigrams: Mapping[str, int],
        indptr: NDArray[np.int64],
        columns: NDArray[np.int32],
        frequencies: NDArray[np.uint16],
    ) -> "LexicalIndex":
        """Count what follows from the entries; every item counts."""
        lengths = _lengths(indptr, columns, frequencies)
        n_with = np.bincount(columns, minlength=_n_columns(words, trigrams))
        totals = _Totals(len(indptr) - 1, n_with, lengths.sum(axis=0, dtype=np.int64))
        return cls(
            words, trigrams, indptr, columns, frequencies, lengths, totals, totals.idf().astype(np.float32)
        )

    def append(self, texts: Sequence[str], replaced: NDArray[np.integer] | None = None) -> "LexicalIndex":
        """Index more items, behind those that are there.

        Scores are those of an index built from scratch over the texts that count. This index stays as it is.

        Args:
            texts: of the new items.
            replaced: int [n], rows of items that no longer count, each at most once; their rows stay.
        """
        words, trigrams = dict(self.words), dict(self.trigrams)
        columns, frequencies, sizes = array("i"), array("H"), []
        for text in texts:
            found = Counter(words.setdefault(word, 2 * len(words)) for word in singulars_of(text))
            found.update(trigrams.setdefault(gram, 2 * len(trigrams) + 1) for gram in trigrams_of(text))
            columns.extend(found.keys())
            frequencies.extend(min(frequency, MOST) for frequency in found.values())
            sizes.append(len(found))
        ends = self.indptr[-1] + np.cumsum(sizes, dtype=np.int64)
        new_columns = np.frombuffer(columns, dtype=np.int32)
        new_frequencies = np.frombuffer(frequencies, dtype=np.uint16)
        indptr = np.concatenate([self.indptr[-1:], ends]) - self.indptr[-1]
        lengths = _lengths(indptr, new_columns, new_frequencies)

        gone = np.empty(0, np.int64) if replaced is None else replaced
        lost = self.columns[self._entries_of(gone)[0]]
        n_with = np.bincount(new_columns, minlength=_n_columns(words, trigrams))
        n_with[: len(self.totals.n_with)] += self.totals.n_with
        totals = _Totals(
            self.totals.n_texts + len(texts) - len(gone),
            n_with - np.bincount(lost, minlength=len(n_with)),
            self.totals.lengths + lengths.sum(axis=0, dtype=np.int64) - self.lengths[gone].sum(axis=0),
        )
        return LexicalIndex(
            words,
            trigrams,
            extended(self.indptr, ends),
            extended(self.columns, new_columns),
            extended(self.frequencies, new_frequencies),
            extended(self.lengths, lengths),
            totals,
            totals.idf().astype(np.float32),
        )

    @property
    def n_items(self) -> int:
        """Number of items, with those that were replaced."""
        return len(self.indptr) - 1

    @property
    def n_columns(self) -> int:
        """Columns that the terms are spread over; where words outnumber trigrams, some are empty."""
        return len(self.idf)

    def query(self, text: str) -> NDArray[np.int32]:
        """Columns of a query's terms that some item has, each as often as it stands there: int32 [m]."""
        known = [self.words[word] for word in singulars_of(text) if word in self.words]
        known += [self.trigrams[gram] for gram in trigrams_of(text) if gram in self.trigrams]
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
        asked = np.zeros(self.n_columns, dtype=np.float32)
        np.add.at(asked, query, self.idf[query])
        entries, ends = self._entries_of(items)
        columns = self.columns[entries]
        gains = asked[columns]
        hits = np.flatnonzero(gains)
        cells = FIELDS * np.searchsorted(ends, hits, side="right") + (columns[hits] & 1)
        frequencies = self.frequencies[entries[hits]]
        gains = gains[hits] * (frequencies / (frequencies + self._saturation(items).ravel()[cells]))
        return np.bincount(cells, gains, FIELDS * len(items)).astype(np.float32).reshape(-1, FIELDS)

    def typical_words(self, items: NDArray[np.integer], most: int) -> list[str]:
        """The words, in the singular, that tell some items from all the others, the most telling first.

        Those are the words with the largest parts of the Kullback-Leibler divergence, p ln(p / q): p is the
        share of the items that have a word, q that of all items. A word of one item alone tells nothing.

        Args:
            items: int [n], item rows, each once.
            most: how many words at most.
        """
        columns, counts = np.unique(self.columns[self._entries_of(items)[0]], return_counts=True)
        expected = self.totals.n_with[columns] * len(items) / max(self.totals.n_texts, 1)
        is_telling = (columns % FIELDS == 0) & (counts > 1) & (counts > expected)
        columns, counts, expected = columns[is_telling], counts[is_telling], expected[is_telling]
        best = np.argsort(-counts * np.log(counts / expected), kind="stable")[:most]
        return [self._vocabulary[column // FIELDS] for column in columns[best]]

    @cached_property
    def _vocabulary(self) -> list[str]:
        """The words in the order of their columns."""
        return list(self.words)

    def _entries_of(self, items: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The entries of some items, item after item, and where those of each item end."""
        starts = self.indptr[items]
        return runs(starts, self.indptr[items + 1] - starts)

    def weights(self) -> NDArray[np.float32]:
        """What BM25 gives each entry, float32 [n_entries]."""
        rows = np.repeat(np.arange(self.n_items), np.diff(self.indptr))
        saturation = self._saturation(np.arange(self.n_items))[rows, self.columns & 1]
        weights: NDArray[np.float32] = self.frequencies / (self.frequencies + saturation)
        return self.idf[self.columns] * weights

    def _saturation(self, items: NDArray[np.integer]) -> NDArray[np.float32]:
        """What stands beside tf in the denominator, float32 [n, 2]."""
        relative_length = self.lengths[items] * self.totals.per_mean_length()
        saturation: NDArray[np.float64] = K1 * (1 - B + B * relative_length)
        return saturation.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the index as an ``.npz``; read back, every item counts, those that were replaced, too."""
        words, trigrams = (
            np.frombuffer("\n".join(terms).encode(), dtype=np.uint8) for terms in (self.words, self.trigrams)
        )
        np.savez(
            path,
            words=words,
            trigrams=trigrams,
            indptr=self.indptr,
            columns=self.columns,
            frequencies=self.frequencies,
        )

    @classmethod
    def load(cls, path: Path) -> "LexicalIndex":
        """Read an index written by :meth:`save`; never unpickles.

        Raises:
            SidError: if the file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(path)
        try:
            words, trigrams = (
                _numbered(arrays[name].tobytes().decode(), first)
                for first, name in enumerate(("words", "trigrams"))
            )
            indptr, columns, frequencies = (arrays[name] for name in ("indptr", "columns", "frequencies"))
            _check(words, trigrams, indptr, columns, frequencies)
            return cls._of(words, trigrams, indptr, columns, frequencies)
        except (KeyError, ValueError) as error:
            raise SidError(
                f"{path} holds no lexical index ({error}); write it with 'radsearch sids'"
            ) from error


def _n_columns(words: Mapping[str, int], trigrams: Mapping[str, int]) -> int:
    return FIELDS * max(len(words), len(trigrams))


def _lengths(
    indptr: NDArray[np.int64], columns: NDArray[np.int32], frequencies: NDArray[np.uint16]
) -> NDArray[np.int32]:
    """Terms of each item by field, int32 [n_items, 2]."""
    n_items = len(indptr) - 1
    cells = FIELDS * np.repeat(np.arange(n_items), np.diff(indptr)) + (columns & 1)
    return np.bincount(cells, frequencies, FIELDS * n_items).astype(np.int32).reshape(-1, FIELDS)


def _numbered(terms: str, first: int) -> dict[str, int]:
    """Column of each term, by its place in the file."""
    listed = terms.split("\n") if terms else []
    columns = {term: FIELDS * place + first for place, term in enumerate(listed)}
    if len(columns) != len(listed):
        raise ValueError("a term stands twice in its vocabulary")
    return columns


def _check(
    words: Mapping[str, int],
    trigrams: Mapping[str, int],
    indptr: NDArray[np.int64],
    columns: NDArray[np.int32],
    frequencies: NDArray[np.uint16],
) -> None:
    """Raise ValueError that says what would make scores silently wrong."""
    n_entries = len(columns)
    if len(frequencies) != n_entries or not len(indptr) or indptr[-1] != n_entries:
        raise ValueError("its arrays do not fit each other")
    if frequencies.dtype != np.uint16 or not frequencies.all():
        raise ValueError("its frequencies are no counts")
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError("its items do not follow one another")
    known = np.array([len(words), len(trigrams)])
    if n_entries and (columns.min() < 0 or (columns // FIELDS >= known[columns & 1]).any()):
        raise ValueError("an entry names a term outside the vocabulary")
