"""The prefix tree of all SIDs, as the flat arrays that beam search reads on the device."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sid.slots import chunk_width, most_chunks
from sid.table import SidTable

MOST_NODES = 2**31 - 1  # of all filters of a batch: graphs count them in int32


@dataclass(frozen=True)
class Trie:
    """Compressed sparse rows over nodes numbered breadth-first, children sorted by code.

    With that numbering no child array is needed: edge ``e`` leads to node ``e + 1``. Leaves are the last
    nodes, in the order of the SID table, so the leaf behind node ``v`` is ``v − n_internal``.

    Attributes:
        indptr: int32 [n_internal + 1]; node ``v`` owns the edges ``indptr[v]:indptr[v + 1]``.
        codes: int32 [n_edges]; the code that each edge appends. At least one element, so that a gather on
            an empty trie stays in bounds.
        widths: the largest number of children of a node, per level; 0 in an empty trie.
        n_leaves: number of SIDs.
    """

    indptr: NDArray[np.int32]
    codes: NDArray[np.int32]
    widths: tuple[int, ...]
    n_leaves: int

    @property
    def n_internal(self) -> int:
        """Number of nodes that are not leaves; the root is node 0."""
        return len(self.indptr) - 1

    @property
    def n_nodes(self) -> int:
        """Number of all nodes, leaves included."""
        return self.n_internal + self.n_leaves

    @cached_property
    def graph_inputs(self) -> dict[str, NDArray[np.int32]]:
        """The trie as exported graphs read it, by input.

        ``trie_indptr`` and ``trie_codes``; ``first_leaf`` [1], the node of leaf 0; from level 1 on
        ``slots_1`` and so on, [W] = 0, 1, …, whose lengths are the chunks in which children are read.
        """
        widths = enumerate(self._chunk_widths[1:], start=1)
        return {
            "trie_indptr": self.indptr,
            "trie_codes": self.codes,
            "first_leaf": np.array([self.n_internal], dtype=np.int32),
            **{f"slots_{level}": np.arange(width, dtype=np.int32) for level, width in widths},
        }

    def chunk_budget(self, beam_width: int) -> dict[str, NDArray[np.int32]]:
        """Further inputs, ``chunks_0`` and so on, of graphs whose sizes hang on nothing but the trie.

        Args:
            beam_width: K, and the runners-up of a graph that explains, which need a slot each.

        Returns:
            int32 [C + 1] = 0, 1, … per level, C as many chunks as K beams can have.
        """
        budgets = {}
        for level, (degrees, width) in enumerate(zip(self._degrees(), self._chunk_widths, strict=True)):
            n_beams = 1 if level == 0 else beam_width
            chunks = max(most_chunks(degrees, width, n_beams), -(-beam_width // width))
            budgets[f"chunks_{level}"] = np.arange(chunks + 1, dtype=np.int32)
        return budgets

    @classmethod
    def from_table(cls, table: SidTable) -> "Trie":
        """Build the trie of a sorted SID table, level by level, without a Python loop over SIDs."""
        sids = table.codes
        n_leaves, levels = sids.shape
        if n_leaves == 0:
            return cls(np.zeros(2, np.int32), np.zeros(1, np.int32), (0,) * levels, 0)
        # starts_here[i] says that SID i opens a new node at this depth: its prefix differs from SID i − 1's.
        starts_here = np.zeros(n_leaves, dtype=bool)
        starts_here[0] = True
        parents = np.zeros(1, dtype=np.int64)  # rows at which the nodes one level up begin
        codes, degrees, widths = [], [], []
        for level in range(levels):
            starts_here = starts_here.copy()
            starts_here[1:] |= sids[1:, level] != sids[:-1, level]
            children = np.flatnonzero(starts_here)
            degree = np.diff(np.append(np.searchsorted(children, parents), len(children)))
            codes.append(sids[children, level])
            degrees.append(degree)
            widths.append(int(degree.max()))
            parents = children
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(degrees))])
        return cls(indptr.astype(np.int32), np.concatenate(codes).astype(np.int32), tuple(widths), n_leaves)

    def alive(self, leaf_mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Turn a set of leaves into the set of nodes through which one of them is reached.

        Args:
            leaf_mask: bool [n_leaves]; true for the leaves a search may return.

        Returns:
            bool [n_nodes]; a node lives when any leaf below it lives.
        """
        if leaf_mask.shape != (self.n_leaves,):
            raise ValueError(f"leaf mask has shape {leaf_mask.shape}, expected ({self.n_leaves},)")
        alive = np.zeros(self.n_nodes, dtype=bool)
        alive[self.n_internal :] = leaf_mask
        for first, last in reversed(self._levels()):
            edges = self.indptr[first : last + 1]
            # living[e] counts the children alive before edge e: a node lives when the count grows over its
            # edges. Several times as fast as a reduction per node, and nodes may be without children.
            living = np.zeros(edges[-1] - edges[0] + 1, dtype=np.int32)
            np.cumsum(alive[1:][edges[0] : edges[-1]], out=living[1:])
            alive[first:last] = np.diff(living[edges - edges[0]]) > 0
        return alive

    @cached_property
    def _chunk_widths(self) -> list[int]:
        """Per level; the root's children are read as they come."""
        return [1, *(chunk_width(degrees) for degrees in self._degrees()[1:])]

    def _degrees(self) -> list[NDArray[np.int32]]:
        """Children of each node, per level."""
        return [np.diff(self.indptr[first : last + 1]) for first, last in self._levels()]

    def _levels(self) -> list[tuple[int, int]]:
        """Node range of each level of internal nodes, root first."""
        ranges, first, last = [], 0, 1
        for _ in self.widths:
            ranges.append((first, last))
            first, last = last, int(self.indptr[last]) + 1
        return ranges
