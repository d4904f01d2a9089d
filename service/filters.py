"""From a filter on attributes to the items, leaves and trie nodes that may still be reached."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from service.columns import Column, Facet, Mask, column_type
from service.epoch import Epoch
from service.schemas import Condition

MOST_VALUES = 50  # of an attribute that are told with their numbers of items


@dataclass(frozen=True, eq=False)
class FilterMask:
    """What one filter leaves over of the items on offer; compared by identity, equal filters share one mask.

    Attributes:
        items: bool [n_items]; None lets all of them through.
        alive: bool [n_nodes], trie nodes through which such an item is reached.
        n_leaves: SIDs that such an item has.
    """

    items: Mask | None
    alive: Mask
    n_leaves: int


class FilterIndex:
    """Which items of an epoch are on offer and what filters leave over of them; recent masks are kept.

    Attributes:
        listed: bool [n_items], the items on offer; None where all are.
        everything: the mask of no filter.
    """

    def __init__(self, epoch: Epoch, capacity: int, listed: Mask | None = None) -> None:
        """Start without masks.

        Args:
            epoch: whose items they are.
            capacity: how many masks to keep.
            listed: bool [n_items], the items on offer; None offers all.
        """
        self.listed = None if listed is None or listed.all() else listed
        self._epoch = epoch
        self._capacity = capacity
        self._recent: OrderedDict[str, FilterMask] = OrderedDict()
        self._built: dict[str, Column] = {}
        self.everything = self._mask(self.listed)

    def relisted(self, listed: Mask) -> "FilterIndex":
        """The same epoch with other items on offer; bool [n_items]."""
        index = FilterIndex(self._epoch, self._capacity, listed)
        index._built = self._built  # attributes do not depend on what is on offer
        return index

    @property
    def n_listed(self) -> int:
        """Number of items on offer."""
        return len(self._epoch.catalogue) if self.listed is None else int(self.listed.sum())

    @cached_property
    def columns(self) -> dict[str, type[Column]]:
        """How each attribute can be filtered, by name; attributes that cannot are not there."""
        catalogue = self._epoch.catalogue
        found = (
            (name, column_type(catalogue.table.schema.field(name).type)) for name in catalogue.attributes
        )
        return {name: column for name, column in found if column is not None}

    @cached_property
    def facets(self) -> dict[str, Facet]:
        """What each attribute that can be filtered holds over the items on offer, by name; blocks."""
        return {name: self._column(name).facet(self.listed, MOST_VALUES) for name in self.columns}

    def warm_up(self, before: "FilterIndex") -> None:
        """Prepare the attributes that were filtered in the epoch before; blocks."""
        for name in list(before._built):
            self._column(name)

    async def mask(self, filters: Mapping[str, Condition]) -> FilterMask:
        """Find or make the mask of a filter: all its conditions hold.

        Args:
            filters: conditions by attribute, each accepted by the attribute's column.
        """
        key = json.dumps(filters, sort_keys=True)
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        # Some milliseconds per million items: long enough to keep the event loop free of it.
        mask = await asyncio.to_thread(self._build, filters)
        self._recent[key] = mask
        while len(self._recent) > self._capacity:
            self._recent.popitem(last=False)
        return mask

    def _build(self, filters: Mapping[str, Condition]) -> FilterMask:
        items = np.ones(len(self._epoch.catalogue), dtype=bool) if self.listed is None else self.listed.copy()
        for name, condition in filters.items():
            items &= self._column(name).matches(condition)
        return self._mask(items)

    def _mask(self, items: Mask | None) -> FilterMask:
        table, trie = self._epoch.table, self._epoch.trie
        if items is None:
            return FilterMask(None, np.ones(trie.n_nodes, dtype=bool), table.n_leaves)
        leaves = np.zeros(table.n_leaves, dtype=bool)
        if table.n_leaves:
            leaves = np.logical_or.reduceat(items[table.posting_items], table.posting_indptr[:-1])
        return FilterMask(items, trie.alive(leaves), int(leaves.sum()))

    def _column(self, name: str) -> Column:
        if name not in self._built:
            self._built[name] = self.columns[name](self._epoch.catalogue.column(name))
        return self._built[name]
