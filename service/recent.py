"""What the item store told lately, kept in the process: of an epoch, postings and payloads never change."""

import math
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from service.catalogue import ItemPayload
from service.epoch import Epoch
from service.store import Found, ItemStore

Rows = NDArray[np.int32]
Answer = TypeVar("Answer")


@dataclass
class _Known:
    """Of one epoch, by leaf and by item row, the oldest first."""

    postings: dict[int, Rows] = field(default_factory=dict)
    payloads: dict[int, ItemPayload] = field(default_factory=dict)


class RecentItems:
    """Looks up postings and payloads, and asks the store only for those it was not told lately.

    Args:
        store: knows all of them.
        capacity: how many postings, and how many payloads, to keep per epoch; 0 keeps none.
    """

    def __init__(self, store: ItemStore, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._epochs: WeakKeyDictionary[Epoch, _Known] = WeakKeyDictionary()

    async def postings(
        self, epoch: Epoch, leaves: Rows, sids: Rows, deadline: float = math.inf
    ) -> Found[list[Rows]]:
        """As :meth:`ItemStore.postings`."""
        return await self._look_up(
            self._known(epoch).postings,
            leaves.tolist(),
            lambda places: self._store.postings(epoch, leaves[places], sids[places], deadline),
        )

    async def items(self, epoch: Epoch, rows: Rows, deadline: float = math.inf) -> Found[list[ItemPayload]]:
        """As :meth:`ItemStore.items`."""
        return await self._look_up(
            self._known(epoch).payloads,
            rows.tolist(),
            lambda places: self._store.items(epoch, rows[places], deadline),
        )

    def _known(self, epoch: Epoch) -> _Known:
        return self._epochs.setdefault(epoch, _Known())

    async def _look_up(
        self,
        known: dict[int, Answer],
        keys: Sequence[int],
        ask: Callable[[list[int]], Coroutine[Any, Any, Found[list[Answer]]]],
    ) -> Found[list[Answer]]:
        """The values of some keys, those that are missing from the store; ``ask`` is given their places."""
        with suppress(KeyError):  # most often all are known, and nothing is quicker than to try
            return Found([known[key] for key in keys], self._store.is_away)
        held = {key: known[key] for key in keys if key in known}  # others may drop them while we ask
        missing = [place for place, key in enumerate(keys) if key not in held]
        told = await ask(missing)
        new = dict(zip((keys[place] for place in missing), told.value, strict=True))
        known.update(new)
        self._forget(known)
        held |= new
        return Found([held[key] for key in keys], told.is_degraded)

    def _forget(self, known: dict[int, Answer]) -> None:
        """Drop what is oldest, down to half, so that this is seldom."""
        if len(known) > self._capacity:
            for key in list(known)[: len(known) - self._capacity // 2]:
                del known[key]
