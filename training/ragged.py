"""Rows of different lengths in two flat arrays: prompts, positives, negatives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Ragged:
    """Row ``i`` is ``values[indptr[i]:indptr[i + 1]]``.

    Attributes:
        indptr: int64 [n + 1].
        values: int32 [sum of the lengths].
    """

    indptr: NDArray[np.int64]
    values: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[ArrayLike]) -> "Ragged":
        """Join rows."""
        arrays: list[NDArray[Any]] = [np.asarray(row, dtype=np.int32) for row in rows]
        indptr = np.concatenate([[0], np.cumsum([len(array) for array in arrays], dtype=np.int64)])
        return cls(indptr.astype(np.int64), np.concatenate([np.empty(0, np.int32), *arrays]))

    @classmethod
    def of_table(cls, table: NDArray[np.integer]) -> "Ragged":
        """Take the rows of a table, int [n, width]."""
        n, width = table.shape
        return cls(np.arange(n + 1, dtype=np.int64) * width, table.ravel().astype(np.int32))

    @classmethod
    def empty(cls, n: int) -> "Ragged":
        """Make n rows without values."""
        return cls(np.zeros(n + 1, np.int64), np.empty(0, np.int32))

    @classmethod
    def concatenate(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """Put the rows of several after one another."""
        lengths = np.concatenate([part.lengths for part in parts])
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        return cls(indptr.astype(np.int64), np.concatenate([part.values for part in parts]))

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Values per row, int64 [n]."""
        return np.diff(self.indptr)

    @property
    def row_of_value(self) -> NDArray[np.int64]:
        """The row that each value is in, int64 [len(values)]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, rows: NDArray[np.integer]) -> "Ragged":
        """Keep the named rows, in the order named."""
        lengths = self.lengths[rows]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(indptr[-1]) - np.repeat(indptr[:-1], lengths)
        return Ragged(indptr.astype(np.int64), self.values[np.repeat(self.indptr[rows], lengths) + within])

    def sample(self, at_most: int, rng: np.random.Generator) -> "Ragged":
        """Draw values of each row without replacement; a row that has no more than that is kept whole."""
        row = self.row_of_value
        order = np.lexsort((rng.random(len(row)), row))
        within = np.arange(len(row)) - self.indptr[row]
        kept = np.sort(order[within < at_most])
        indptr = np.concatenate([[0], np.cumsum(np.minimum(self.lengths, at_most))])
        return Ragged(indptr.astype(np.int64), self.values[kept])

    def padded(self, left: bool = False) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Lay the rows out as a rectangle, filled up with zeros on the right, or on the left.

        Returns:
            values int64 [n, longest] and a bool mask of the same shape, true where a value stands.
        """
        lengths = self.lengths[:, None]
        longest = int(lengths.max(initial=0))
        column = np.arange(longest)
        mask = column >= longest - lengths if left else column < lengths
        values = np.zeros(mask.shape, dtype=np.int64)
        values[mask] = self.values
        return values, mask
