"""The SIDs of an epoch as a tree to look into: what lies under a prefix, and how well the codes are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.catalogue import TITLE, ItemPayload
from service.columns import Mask
from service.epoch import Epoch
from sid import SidTable
from sid.lexical import singular
from sid.report import LevelReport, level_reports
from sid.tfidf import words_of

N_DESCRIBING = 100  # items of a prefix, the most popular ones, that it is described by
N_WORDS = 4

Prefix = tuple[int, ...]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class SidNode:
    """What lies under a prefix.

    Attributes:
        prefix: its codes.
        items: how many.
        sids: how many.
        titles: of the most typical of its most popular items, different ones.
        words: that tell these items from all others.
    """

    prefix: Prefix
    items: int
    sids: int
    titles: tuple[str, ...]
    words: tuple[str, ...]


class SidTree:
    """The SIDs of the items on offer.

    Attributes:
        table: of these items alone.
    """

    def __init__(self, epoch: Epoch, listed: Mask | None) -> None:
        """Leave out what is not on offer; blocks, for a fraction of a second per million items.

        Args:
            epoch: the catalogue.
            listed: bool [n_items], the items on offer; None for all.
        """
        self._epoch = epoch
        self._row_of = np.arange(epoch.table.n_items) if listed is None else np.flatnonzero(listed)
        self.table = epoch.table
        if listed is not None:
            codes = epoch.table.codes[epoch.table.leaf_of_item()[self._row_of]]
            self.table = SidTable.from_item_codes(codes, epoch.table.codebook_sizes)

    def describe(self, prefixes: Sequence[Prefix], n_titles: int) -> list[SidNode]:
        """Say what lies under some prefixes; the same one twice costs no more."""
        ranges = {prefix: self.table.under(prefix) for prefix in prefixes}
        rows = {prefix: self._typical(leaves) for prefix, leaves in ranges.items()}
        titles = iter(self._titles(np.concatenate([*rows.values(), np.empty(0, dtype=np.int64)])))
        nodes = {}
        for prefix, leaves in ranges.items():
            own = list(dict.fromkeys(next(titles) for _ in rows[prefix]))
            # Some are no words of a title, but of a category or a brand: twice as many are asked for.
            telling = self._epoch.lexical.typical_words(rows[prefix], 2 * N_WORDS)
            nodes[prefix] = SidNode(
                prefix,
                self._n_items(leaves),
                len(leaves),
                tuple(own[:n_titles]),
                tuple(_as_written(telling, own)[:N_WORDS]),
            )
        return [nodes[prefix] for prefix in prefixes]

    def children(self, prefix: Prefix, most: int, n_titles: int) -> tuple[list[SidNode], int]:
        """The codes that may follow a prefix, those with the most items first.

        Returns:
            At most ``most`` of them, and how many there are.
        """
        leaves = self.table.under(prefix)
        if len(prefix) >= self.table.levels or not leaves:
            return [], 0
        codes, starts = np.unique(
            self.table.codes[leaves.start : leaves.stop, len(prefix)], return_index=True
        )
        edges = self.table.posting_indptr[[*(starts + leaves.start), leaves.stop]]
        best = np.argsort(-np.diff(edges), kind="stable")[:most]
        return self.describe([(*prefix, code) for code in codes[best].tolist()], n_titles), len(codes)

    def items(self, prefix: Prefix, most: int) -> list[ItemPayload]:
        """The most popular items under a prefix."""
        return self._epoch.catalogue.items(self._most_popular(self.table.under(prefix), most))

    def crowded(self, most: int, n_titles: int) -> list[SidNode]:
        """The SIDs that the most items share."""
        best = np.argsort(-np.diff(self.table.posting_indptr), kind="stable")[:most]
        return self.describe(list(map(tuple, self.table.codes[best].tolist())), n_titles)

    @cached_property
    def levels(self) -> tuple[LevelReport, ...]:
        """How well each level's codes are used; none where nothing is on offer."""
        return level_reports(self.table) if self.table.n_items else ()

    @cached_property
    def items_per_code(self) -> list[list[int]]:
        """Per level, how many items have each code of its codebook."""
        sizes = np.diff(self.table.posting_indptr)
        return [
            np.bincount(codes, weights=sizes, minlength=size).astype(int).tolist()
            for codes, size in zip(self.table.codes.T, self.table.codebook_sizes, strict=True)
        ]

    def _n_items(self, leaves: range) -> int:
        return int(self.table.posting_indptr[leaves.stop] - self.table.posting_indptr[leaves.start])

    def _most_popular(self, leaves: range, most: int) -> Rows:
        """Rows of the most popular items of some leaves that lie side by side, the best first."""
        first, last = self.table.posting_indptr[[leaves.start, leaves.stop]]
        rows = np.sort(self._row_of[self.table.posting_items[first:last]])
        popularity = self._epoch.prior[rows]
        if len(rows) > most:
            # Cheaper than sorting all of a large catalogue, and equals still go by their row.
            least = np.partition(popularity, len(rows) - most)[len(rows) - most]
            rows, popularity = rows[popularity >= least], popularity[popularity >= least]
        return rows[np.argsort(-popularity, kind="stable")[:most]]

    def _typical(self, leaves: range) -> Rows:
        """Rows of the most popular items of some leaves, those nearest to their mean embedding first."""
        rows = self._most_popular(leaves, N_DESCRIBING)
        embeddings = self._epoch.embeddings[rows]
        return rows[np.argsort(-(embeddings @ embeddings.sum(axis=0)), kind="stable")]

    def _titles(self, rows: Rows) -> list[str]:
        titles: list[str] = self._epoch.catalogue.table.column(TITLE).take(pa.array(rows)).to_pylist()
        return titles


def _as_written(singulars: Sequence[str], titles: Sequence[str]) -> list[str]:
    """Words as the first of the titles has them, in small letters; without those that no title has."""
    words = dict.fromkeys(words_of(" ".join(titles)))
    written = {singular(word): word for word in reversed(words)}
    return [written[word] for word in singulars if len(word) > 1 and word in written]
