"""From a filter on attributes to the items, leaves and trie nodes that may still be reached."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from service.catalogue import Catalogue
from service.columns import Column, Mask, column_type
from service.schemas import Condition
from sid import SidTable, Trie


@dataclass(frozen=True, eq=False)
class FilterMask:
    """What one filter leaves over; compared by identity, equal filters share one mask.

    Attributes:
        items: bool [n_items].
        alive: bool [n_nodes], trie nodes through which such an item is reached.
        n_leaves: SIDs that such an item has.
    """

    items: Mask
    alive: Mask
    n_leaves: int


class FilterIndex:
    """The filterable attributes of one epoch, with the masks of recent filters."""

    def __init__(self, catalogue: Catalogue, table: SidTable, trie: Trie, capacity: int) -> None:
        self._catalogue = catalogue
        self._table = table
        self._trie = trie
        self._capacity = capacity
        self._recent: OrderedDict[str, FilterMask] = OrderedDict()
        self._column = cache(self._build_column)

    @cached_property
    def columns(self) -> dict[str, type[Column]]:
        """How each attribute can be filtered, by name; attributes that cannot are not there."""
        schema = self._catalogue.table.schema
        found = ((name, column_type(schema.field(name).type)) for name in self._catalogue.attributes)
        return {name: column for name, column in found if column is not None}

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
        items = np.ones(len(self._catalogue), dtype=bool)
        for name, condition in filters.items():
            items &= self._column(name).matches(condition)
        leaves = self._leaves(items)
        return FilterMask(items, self._trie.alive(leaves), int(leaves.sum()))

    def _leaves(self, items: Mask) -> Mask:
        """Leaves whose posting has one of the items, bool [n_leaves]."""
        if not self._table.n_leaves:
            return np.zeros(0, dtype=bool)
        found: Mask = np.logical_or.reduceat(
            items[self._table.posting_items], self._table.posting_indptr[:-1]
        )
        return found

    def _build_column(self, name: str) -> Column:
        return self.columns[name](self._catalogue.column(name))
