"""What the item store told lately, kept in the process: of an epoch, postings and payloads never change."""

import asyncio
import math
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, ref

import numpy as np
from numpy.typing import NDArray

from service.catalogue import ItemPayload
from service.epoch import Epoch
from service.store import Found, ItemStore
from sid import Postings
from sid.growth import extended
from sid.postings import runs

Rows = NDArray[np.int32]

AT_ONCE, PAUSE_S = 64, 0.01  # items asked for ahead, so that no search waits for more than a blink of it


class _KnownPostings:
    """The postings of some of an epoch's leaves, one behind the other.

    A search asks for those of a hundred leaves. Were each an object of its own, to visit them would take
    longer than what is done with them.

    Attributes:
        leaves: int32 [n], those that are known, in the order in which they became so.
    """

    def __init__(self, n_leaves: int) -> None:
        self.leaves = np.empty(0, np.int32)
        self._rows = np.empty(0, np.int32)
        self._starts = np.zeros(n_leaves, np.int32)
        self._ends = np.zeros(n_leaves, np.int32)  # 0 of a leaf that is not known

    def unknown(self, leaves: Rows) -> NDArray[np.int64]:
        """Places of those leaves, int32 [n], that are not known."""
        return np.flatnonzero(self._ends[leaves] == 0)

    def learn(self, leaves: Rows, postings: list[Rows]) -> None:
        """Take in the postings, one item each or more, of different leaves that are not known."""
        if postings:
            self._add(leaves, np.array([len(posting) for posting in postings]), np.concatenate(postings))

    def of(self, leaves: Rows) -> Postings:
        """The postings of leaves, int32 [n], that are known."""
        starts = self._starts[leaves]
        sizes = self._ends[leaves] - starts
        places, _ = runs(starts, sizes)
        return Postings(self._rows[places], np.repeat(np.arange(len(leaves), dtype=np.int32), sizes))

    def newest(self, n: int) -> "_KnownPostings":
        """Only the ``n`` that became known last."""
        kept = _KnownPostings(len(self._starts))
        leaves = self.leaves[max(0, len(self.leaves) - n) :]
        kept._add(leaves, self._ends[leaves] - self._starts[leaves], self.of(leaves).items)
        return kept

    def _add(self, leaves: Rows, sizes: NDArray[np.integer], rows: Rows) -> None:
        ends = len(self._rows) + np.cumsum(sizes)
        self._starts[leaves] = ends - sizes
        self._ends[leaves] = ends
        self._rows = extended(self._rows, rows)
        self.leaves = extended(self.leaves, leaves)


@dataclass
class _Known:
    """Of one epoch, postings by leaf and payloads by item row, the oldest first."""

    postings: _KnownPostings
    payloads: dict[int, ItemPayload] = field(default_factory=dict)


class RecentItems:
    """Looks up postings and payloads, and asks the store only for those it was not told lately.

    From the first search of an epoch on it asks for popular items before a search has to, a few at a time.
    Otherwise every search that finds one SID or item for the first time would wait for Redis to tell of it.

    Args:
        store: knows all of them.
        capacity: how many postings, and how many payloads, to keep per epoch; 0 keeps none.
    """

    def __init__(self, store: ItemStore, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._epochs: WeakKeyDictionary[Epoch, _Known] = WeakKeyDictionary()
        self._asking_ahead: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ask for nothing ahead any more."""
        for task in self._asking_ahead:
            task.cancel()
        await asyncio.gather(*self._asking_ahead, return_exceptions=True)

    async def postings(
        self, epoch: Epoch, leaves: Rows, sids: Rows, deadline: float = math.inf
    ) -> Found[Postings]:
        """As :meth:`ItemStore.postings`."""
        known = self._known(epoch)
        postings = known.postings  # of these, nobody forgets any while we ask
        unknown = postings.unknown(leaves)
        is_degraded = self._store.is_away
        if len(unknown):
            told = await self._store.postings(epoch, leaves[unknown], sids[unknown], deadline)
            is_degraded = told.is_degraded
            new = postings.unknown(leaves[unknown])  # without those that others were told meanwhile
            postings.learn(leaves[unknown[new]], [told.value[place] for place in new])
            if len(postings.leaves) > self._capacity and postings is known.postings:
                known.postings = postings.newest(self._capacity // 2)  # down to half, so that this is seldom
        return Found(postings.of(leaves), is_degraded)

    async def items(self, epoch: Epoch, rows: Rows, deadline: float = math.inf) -> Found[list[ItemPayload]]:
        """As :meth:`ItemStore.items`."""
        known, asked = self._known(epoch).payloads, rows.tolist()
        with suppress(KeyError):  # most often all are known, and nothing is quicker than to try
            return Found([known[row] for row in asked], self._store.is_away)
        held = {row: known[row] for row in asked if row in known}  # others may drop them while we ask
        missing = [place for place, row in enumerate(asked) if row not in held]
        told = await self._store.items(epoch, rows[missing], deadline)
        new = dict(zip((asked[place] for place in missing), told.value, strict=True))
        known.update(new)
        if len(known) > self._capacity:
            for row in list(known)[: len(known) - self._capacity // 2]:
                del known[row]
        held |= new
        return Found([held[row] for row in asked], told.is_degraded)

    def _known(self, epoch: Epoch) -> _Known:
        known = self._epochs.get(epoch)
        if known is None:
            known = self._epochs[epoch] = _Known(_KnownPostings(epoch.table.n_leaves))
            if self._capacity:
                task = asyncio.create_task(self._ask_ahead(ref(epoch)), context=Context())  # of no request
                self._asking_ahead.add(task)
                task.add_done_callback(self._asking_ahead.discard)
        return known

    async def _ask_ahead(self, watched: "ref[Epoch]") -> None:
        """Have popular items told, as long as others hold the epoch."""
        epoch = watched()
        if epoch is None:
            return
        n_items = len(epoch.catalogue)
        most = n_items if n_items <= self._capacity else self._capacity // 2  # leaves room for what is asked
        rows = await asyncio.to_thread(_most_popular, epoch.prior, most)
        leaves = (await asyncio.to_thread(epoch.table.leaf_of_item))[rows]
        for start in range(0, most, AT_ONCE):
            own_leaves = np.unique(leaves[start : start + AT_ONCE])
            await self.postings(epoch, own_leaves, epoch.table.codes[own_leaves])
            await self.items(epoch, rows[start : start + AT_ONCE])
            del epoch
            await asyncio.sleep(PAUSE_S)
            epoch = watched()
            if epoch is None:
                return


def _most_popular(prior: NDArray[np.float32], n: int) -> Rows:
    """The rows of the ``n`` most popular items, the most popular first, int32 [n]."""
    best = np.argpartition(-prior, n - 1)[:n] if n < len(prior) else np.arange(len(prior))
    return best[np.argsort(-prior[best], kind="stable")].astype(np.int32)
