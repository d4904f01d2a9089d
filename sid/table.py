"""The SID table: which SIDs exist, in lexicographic order, and which items share each of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError

Codes = NDArray[np.int32]
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class SidTable:
    """All SIDs of one epoch, sorted and without repeats, with the posting of each.

    Attributes:
        codes: int32 [n_leaves, L], sorted lexicographically; row ``i`` is the SID of leaf ``i``.
        posting_indptr: int64 [n_leaves + 1]; leaf ``i`` owns ``posting_items[indptr[i]:indptr[i + 1]]``.
        posting_items: int32 [n_items], item rows, ascending within a posting.
        codebook_sizes: number of centroids per level; every code lies below its level's size.
    """

    codes: Codes
    posting_indptr: NDArray[np.int64]
    posting_items: Rows
    codebook_sizes: tuple[int, ...]

    @classmethod
    def from_item_codes(cls, item_codes: Codes, codebook_sizes: tuple[int, ...]) -> "SidTable":
        """Group items by SID.

        Args:
            item_codes: int [n_items, L], the SID of each item, in any order.
            codebook_sizes: centroids per level, length L.

        Raises:
            ValueError: if the shapes disagree or a code lies outside its codebook.
        """
        item_codes = np.asarray(item_codes)
        levels = len(codebook_sizes)
        if levels == 0:
            raise ValueError("a SID needs one level at least")
        if item_codes.ndim != 2 or item_codes.shape[1] != levels:
            raise ValueError(f"item codes have shape {item_codes.shape}, expected [n_items, {levels}]")
        if item_codes.dtype.kind not in "iu":
            raise ValueError(f"item codes are {item_codes.dtype}, expected integers")
        if (item_codes < 0).any() or (item_codes >= np.asarray(codebook_sizes)).any():
            raise ValueError(f"an item code lies outside the codebooks {codebook_sizes}")
        item_codes = item_codes.astype(np.int32, copy=False)
        sizes = tuple(int(size) for size in codebook_sizes)
        order = _by_sid(item_codes, sizes)
        ordered = item_codes[order]
        is_first = np.ones(len(ordered), dtype=bool)
        is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        starts = np.flatnonzero(is_first)
        return cls(
            codes=ordered[starts],
            posting_indptr=np.append(starts, len(ordered)),
            posting_items=order,
            codebook_sizes=sizes,
        )

    @property
    def n_leaves(self) -> int:
        """Number of distinct SIDs."""
        return len(self.codes)

    @property
    def n_items(self) -> int:
        """Number of items over all postings."""
        return len(self.posting_items)

    @property
    def levels(self) -> int:
        """SID length L."""
        return len(self.codebook_sizes)

    def posting(self, leaf: int) -> Rows:
        """Item rows that share the SID of ``leaf``, int32 [size]."""
        return self.posting_items[self.posting_indptr[leaf] : self.posting_indptr[leaf + 1]]

    def under(self, prefix: Sequence[int]) -> range:
        """Leaves whose SIDs begin with some codes; all of them for no codes, none for more than L."""
        first, last = (0, self.n_leaves) if len(prefix) <= self.levels else (0, 0)
        for level, code in enumerate(prefix[: self.levels]):
            codes = self.codes[first:last, level]  # in order, for those before it are the same
            first, last = (first + int(np.searchsorted(codes, code, side)) for side in ("left", "right"))
        return range(first, last)

    def leaf_of_item(self) -> NDArray[np.int32]:
        """Leaf of every item row, int32 [n_items]."""
        leaves = np.empty(self.n_items, dtype=np.int32)
        leaves[self.posting_items] = np.repeat(
            np.arange(self.n_leaves, dtype=np.int32), np.diff(self.posting_indptr)
        )
        return leaves

    def find(self, sids: NDArray[np.integer]) -> NDArray[np.int32]:
        """Look up SIDs, all at once, level by level.

        Args:
            sids: int [..., L].

        Returns:
            int32 [...]: the leaf of each SID, −1 where no item has it.
        """
        sids = np.asarray(sids)
        if sids.shape[-1:] != (self.levels,):
            raise ValueError(f"SIDs have shape {sids.shape}, expected [..., {self.levels}]")
        found = ((sids >= 0) & (sids < np.asarray(self.codebook_sizes))).all(axis=-1)
        if self.n_leaves == 0:
            return np.full(found.shape, -1, dtype=np.int32)
        # Prefixes are numbered in order of their codes, so (prefix, code) fits one sorted int64 key.
        known = np.zeros(self.n_leaves, dtype=np.int64)
        wanted = np.zeros(found.shape, dtype=np.int64)
        for level, size in enumerate(self.codebook_sizes):
            keys, known = np.unique(known * size + self.codes[:, level], return_inverse=True)
            key = wanted * size + sids[..., level].astype(np.int64)
            wanted = np.searchsorted(keys, key).clip(max=len(keys) - 1)
            found &= keys[wanted] == key
        return np.where(found, wanted, -1).astype(np.int32)

    def save(self, path: Path) -> None:
        """Write the table as an uncompressed ``.npz``."""
        np.savez(
            path,
            codes=self.codes,
            posting_indptr=self.posting_indptr,
            posting_items=self.posting_items,
            codebook_sizes=np.asarray(self.codebook_sizes, dtype=np.int32),
        )

    @classmethod
    def load(cls, path: Path) -> "SidTable":
        """Read a table written by :meth:`save`; never unpickles.

        Raises:
            SidError: if the file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(path)
        try:
            table = cls(
                codes=arrays["codes"],
                posting_indptr=arrays["posting_indptr"],
                posting_items=arrays["posting_items"],
                codebook_sizes=tuple(int(size) for size in arrays["codebook_sizes"]),
            )
            # Rebuilding is cheap, and what differs from it would make searches silently wrong.
            leaves = table.leaf_of_item()
            whole = _equal(table, cls.from_item_codes(table.codes[leaves], table.codebook_sizes))
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise SidError(f"{path} is no SID table ({error}); write it with 'radsearch sids'") from error
        if not whole:
            raise SidError(f"{path} is no sorted SID table; write it again with 'radsearch sids'")
        return table


def _by_sid(item_codes: Codes, codebook_sizes: tuple[int, ...]) -> Rows:
    """Item rows ordered by SID, those of equal SIDs ascending: int32 [n_items]."""
    row_bits = len(item_codes).bit_length()
    if math.prod(codebook_sizes) << row_bits > 2**63:
        # lexsort is stable; its last key is the primary one.
        return np.lexsort(item_codes.T[::-1]).astype(np.int32)
    # SID and row in one integer: NumPy sorts integers many times faster than it orders rows by several keys.
    keys = np.zeros(len(item_codes), dtype=np.int64)
    for level, size in enumerate(codebook_sizes):
        keys *= size
        keys += item_codes[:, level]
    keys <<= row_bits
    keys |= np.arange(len(item_codes))
    keys.sort()
    keys &= (1 << row_bits) - 1
    return keys.astype(np.int32)


def _equal(a: SidTable, b: SidTable) -> bool:
    return (
        np.array_equal(a.codes, b.codes)
        and np.array_equal(a.posting_indptr, b.posting_indptr)
        and np.array_equal(a.posting_items, b.posting_items)
    )
