"""What is offered while the service runs: searches keep what they began with, changes make the next."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from service.columns import Column
from service.epoch import Epoch
from service.metrics import Metrics
from service.offer import Offer
from service.snapshot import Snapshot
from service.store import ItemStore
from service.variants import Variant

logger = logging.getLogger(__name__)


class LiveCatalogue:
    """What every variant searches now.

    A search takes one snapshot and keeps it to its end. A change builds the next offer in a thread, beside
    the searches, and puts it in place by one assignment; what nobody holds any more is freed at once. Changes
    wait for one another.
    """

    def __init__(
        self, variants: Mapping[str, Variant], store: ItemStore, filter_cache: int, metrics: Metrics
    ) -> None:
        """Load the epochs that the bundles came with; blocks, for seconds where catalogues are large.

        Args:
            variants: by name; one at least.
            store: told which epochs are served.
            filter_cache: how many filter masks an epoch keeps.
            metrics: told what is on offer.

        Raises:
            BundleError: if an epoch cannot be served.
        """
        self._store = store
        self._metrics = metrics
        self._changing = asyncio.Lock()
        self._offer = Offer(filter_cache)
        for variant in variants.values():
            self._offer = self._offer.added(variant)
        for name, snapshot in self._offer.snapshots.items():
            self._measure(name, snapshot)

    @property
    def offer(self) -> Offer:
        """What searches that start now find."""
        return self._offer

    def snapshot(self, variant: str) -> Snapshot:
        """What a search of a variant that starts now sees to its end."""
        return self._offer.snapshots[variant]

    @property
    def epochs(self) -> list[Epoch]:
        """The distinct epochs of all variants."""
        return self._offer.epochs

    @property
    def columns(self) -> dict[str, type[Column]]:
        """Attributes that every variant can filter, by name; none goes while the service runs."""
        return self._offer.columns

    async def change(
        self, make: Callable[[Offer], Offer], agree: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Let searches that start from now on see another offer.

        Args:
            make: the next from the one before; runs in a thread.
            agree: awaited when the next is made, before it is put in place.

        Raises:
            RadsearchError: what ``make`` or ``agree`` raises; then nothing has changed.
        """
        async with self._changing:
            offer = await asyncio.to_thread(make, self._offer)
            if agree is not None:
                await agree()
            before, self._offer = self._offer, offer
        self._store.serve(offer.epochs)
        for name, snapshot in offer.snapshots.items():
            if snapshot is not before.snapshots.get(name):
                self._measure(name, snapshot)
                fields = {"variant": name, "epoch": snapshot.epoch.id, "items": snapshot.filters.n_listed}
                logger.info("catalogue changed", extra=fields)
        for name in before.snapshots.keys() - offer.snapshots.keys():
            self._metrics.withdraw(name)
            logger.info("variant unloaded", extra={"variant": name})

    def _measure(self, variant: str, snapshot: Snapshot) -> None:
        self._metrics.offer(variant, snapshot.epoch.id, snapshot.filters.n_listed)
