"""The SID table: which SIDs exist, in lexicographic order, and which items share each of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
        if item_codes.ndim != 2 or item_codes.shape[1] != levels:
            raise ValueError(f"item codes have shape {item_codes.shape}, expected [n_items, {levels}]")
        if (item_codes < 0).any() or (item_codes >= np.asarray(codebook_sizes)).any():
            raise ValueError(f"an item code lies outside the codebooks {codebook_sizes}")
        # lexsort is stable, so items stay ascending within a posting; its last key is the primary one.
        order = np.lexsort(item_codes.T[::-1])
        ordered = item_codes[order]
        is_first = np.ones(len(ordered), dtype=bool)
        is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
        starts = np.flatnonzero(is_first)
        return cls(
            codes=np.ascontiguousarray(ordered[starts], dtype=np.int32),
            posting_indptr=np.append(starts, len(ordered)).astype(np.int64),
            posting_items=order.astype(np.int32),
            codebook_sizes=tuple(int(size) for size in codebook_sizes),
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

    def leaf_of_item(self) -> NDArray[np.int32]:
        """Leaf of every item row, int32 [n_items]."""
        leaves = np.empty(self.n_items, dtype=np.int32)
        leaves[self.posting_items] = np.repeat(
            np.arange(self.n_leaves, dtype=np.int32), np.diff(self.posting_indptr)
        )
        return leaves

    def find(self, sids: NDArray[np.integer]) -> NDArray[np.int32]:
        """Look up SIDs.

        Args:
            sids: int [..., L].

        Returns:
            int32 [...]: the leaf of each SID, −1 where no item has it.
        """
        sids = np.asarray(sids)
        # Mixed radix keeps lexicographic order; Python integers bound it first, so int64 cannot overflow.
        radix = 1
        weights = []
        for size in reversed(self.codebook_sizes):
            weights.append(radix)
            radix *= size
        if radix >= 2**63:
            raise ValueError(f"codebooks {self.codebook_sizes} span more than 2^63 SIDs")
        weight = np.asarray(weights[::-1], dtype=np.int64)
        in_range = ((sids >= 0) & (sids < np.asarray(self.codebook_sizes))).all(axis=-1)
        keys = self.codes.astype(np.int64) @ weight
        wanted = sids.astype(np.int64) @ weight
        position = np.searchsorted(keys, wanted).clip(max=max(self.n_leaves - 1, 0))
        found = in_range & (keys[position] == wanted) if self.n_leaves else np.zeros(wanted.shape, bool)
        return np.where(found, position, -1).astype(np.int32)

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
        """Read a table written by :meth:`save`; never unpickles."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                codes=arrays["codes"],
                posting_indptr=arrays["posting_indptr"],
                posting_items=arrays["posting_items"],
                codebook_sizes=tuple(int(size) for size in arrays["codebook_sizes"]),
            )
