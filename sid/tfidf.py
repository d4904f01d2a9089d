"""Text embedding by TF-IDF and truncated SVD, with NumPy alone: a service places new items with it."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError

ARRAYS = "tfidf.npz"
DESCRIPTION = "embedder.json"

GRAM_SIZES = (3, 4)
BLOCK = 2**16  # terms weighted at once; bounds the [BLOCK, d] products

WORD = re.compile(r"[^\W_]+")
ACCENT = re.compile(r"[\u0300-\u036f]")


def words_of(text: str) -> list[str]:
    """Cut a text into words: runs of letters and digits, with case, width and accents folded."""
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).lower())
    return WORD.findall(unicodedata.normalize("NFC", ACCENT.sub("", folded)))


def terms_of(text: str) -> list[str]:
    """Cut a text into the terms that are weighted, repeats included.

    Terms are the words, and the character n-grams of each word between spaces: these meet misspellings,
    inflections, and scripts that do not put spaces between words.
    """
    words = words_of(text)
    terms = list(words)
    for word in words:
        padded = f" {word} "
        for size in GRAM_SIZES:
            terms.extend(padded[start : start + size] for start in range(len(padded) - size + 1))
    return terms


@dataclass(frozen=True)
class TfidfEmbedder:
    """Weights terms by (1 + log tf) · idf, and projects the unit vector of weights to d dimensions.

    The arithmetic is that of scikit-learn's ``TfidfVectorizer(sublinear_tf=True)`` and ``TruncatedSVD``.

    Attributes:
        terms: the vocabulary.
        idf: float32 [n_terms].
        components: float32 [n_terms, d].
    """

    kind: ClassVar[str] = "tfidf"

    terms: tuple[str, ...]
    idf: NDArray[np.float32]
    components: NDArray[np.float32]

    def __post_init__(self) -> None:
        n_terms = len(self.terms)
        if self.idf.shape != (n_terms,) or self.components.ndim != 2 or len(self.components) != n_terms:
            raise ValueError(
                f"{n_terms} terms, idf {self.idf.shape} and components {self.components.shape} do not match"
            )

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        return int(self.components.shape[1])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts.

        Returns:
            float32 [n, d], unit rows; a row of zeros for a text without a known term.
        """
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        rows: list[int] = []
        columns: list[int] = []
        counts: list[int] = []
        for row, text in enumerate(texts):
            known = Counter(self._column[term] for term in terms_of(text) if term in self._column)
            rows.extend([row] * len(known))
            columns.extend(known.keys())
            counts.extend(known.values())
            if len(rows) >= BLOCK:
                self._add(vectors, rows, columns, counts)
                rows, columns, counts = [], [], []
        self._add(vectors, rows, columns, counts)
        return vectors

    def _add(
        self, vectors: NDArray[np.float32], rows: list[int], columns: list[int], counts: list[int]
    ) -> None:
        """Fill the rows of ``vectors`` that the terms belong to; all terms of a row come in one call."""
        if not rows:
            return
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        weights = (1.0 + np.log(counts)) * self.idf[columns]
        # The length of the weight vector does not matter: the row is brought to unit length at the end.
        projected = np.add.reduceat(weights[:, None] * self.components[columns], starts, axis=0)
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        vectors[np.asarray(rows)[starts]] = projected / np.where(lengths > 0, lengths, 1.0)

    def save(self, directory: Path) -> None:
        """Write ``embedder.json`` and ``tfidf.npz`` into a directory."""
        text = np.frombuffer("\n".join(self.terms).encode(), dtype=np.uint8)
        np.savez(directory / ARRAYS, terms=text, idf=self.idf, components=self.components)
        description = {"kind": self.kind, "dim": self.dim, "n_terms": len(self.terms)}
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "TfidfEmbedder":
        """Read what :meth:`save` wrote; never unpickles.

        Raises:
            SidError: if a file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(directory / ARRAYS)
        try:
            terms = tuple(arrays["terms"].tobytes().decode().split("\n"))
            return cls(terms, arrays["idf"], arrays["components"])
        except (KeyError, ValueError) as error:
            raise SidError(
                f"{directory / ARRAYS} holds no TF-IDF embedder ({error}); write it with 'radsearch sids'"
            ) from error

    @cached_property
    def _column(self) -> dict[str, int]:
        return {term: column for column, term in enumerate(self.terms)}
