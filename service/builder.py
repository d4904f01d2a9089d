"""From one desired state to the next: loads what is new, keeps what stays, and touches no search."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.bundle import Bundle
from service.bundles import BundleDirectory
from service.desired import DesiredState, Source
from service.device import Device
from service.offer import Offer
from service.settings import ServiceSettings
from service.variants import Variant, with_engine


@dataclass(frozen=True)
class OfferBuilder:
    """Makes offers.

    Attributes:
        settings: how models are loaded.
        device: where they are loaded.
        configured: directories of the bundles in the settings, by name of the variant; the first answers
            where nothing else is said.
        bundles: where all other bundles lie.
    """

    settings: ServiceSettings
    device: Device
    configured: Mapping[str, Path]
    bundles: BundleDirectory

    def build(self, applied: DesiredState, desired: DesiredState, offer: Offer) -> Offer:
        """Make the offer that a state asks for; blocks, for as long as it takes to load what is new.

        Args:
            applied: the state that led to the present offer.
            desired: the state to come to; any later or earlier one.
            offer: the present one.

        Raises:
            RadsearchError: if this replica cannot offer that.
        """
        names = desired.variants(list(self.configured))
        made = offer.only(names)
        for name in names:
            path = self._catalogue(desired.catalogue(name).current)
            if name not in offer.snapshots or applied.loaded.get(name) != desired.loaded.get(name):
                made = made.added(self._variant(name, desired), path)
            elif not _leads_on(applied, desired, name):
                made = made.loaded(name, path or made.snapshots[name].variant.bundle.path)
        waiting: dict[int, list[str]] = {}
        for name in names:
            is_kept = made.snapshots[name] is offer.snapshots.get(name)
            n_held = len(applied.upserts_of(name)) if is_kept else 0
            for upsert in desired.upserts_of(name)[n_held:][:1]:
                waiting.setdefault(upsert.number, []).append(name)
        for first, members in waiting.items():
            batches = [upsert.items for upsert in desired.upserts if upsert.number >= first]
            made = made.upserted(*batches, names=members)
        return made.relisted(desired.delisted).ordered(names).shared(desired.shares)

    def _variant(self, name: str, desired: DesiredState) -> Variant:
        ref = desired.loaded.get(name)
        path = self.configured[name] if ref is None else self.bundles.path(ref)
        return with_engine(name, Bundle.load(path), self.settings, self.device)

    def _catalogue(self, source: Source) -> Path | None:
        return None if source.bundle is None else self.bundles.path(source.bundle)


def _leads_on(applied: DesiredState, desired: DesiredState, name: str) -> bool:
    """Whether a variant's catalogue comes to be the desired one by adding items alone."""
    held, wanted = applied.upserts_of(name), desired.upserts_of(name)
    sources = applied.catalogue(name).current, desired.catalogue(name).current
    return sources[0] == sources[1] and wanted[: len(held)] == held
