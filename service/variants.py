"""The variants a service offers: bundle and engine under the name that experiments use."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from service.bundle import Bundle
from service.device import Device
from service.engine import Engine
from service.errors import ServiceError
from service.settings import ServiceSettings


@dataclass(frozen=True)
class Variant:
    """What an experiment assigns; the catalogue it answers from is in :class:`service.live.LiveCatalogue`.

    Attributes:
        name: the experiment's word for it.
        bundle: the model's files.
        engine: the model, loaded on the device.
    """

    name: str
    bundle: Bundle
    engine: Engine

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the model's files and of what it computes in."""
        files = sorted(self.bundle.manifest.files.items())
        parts = (files, self.bundle.ordering, self.engine.provider, self.engine.precisions)
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def beam_width(self, asked: int | None) -> int:
        """How many SIDs to look for where so many are asked for; None asks for the most."""
        widest = self.engine.beam_widths[-1]
        return widest if asked is None else min(asked, widest)


def load_variants(settings: ServiceSettings, device: Device) -> dict[str, Variant]:
    """Load every bundle's model on the device; blocks.

    Returns:
        Variants by name, in the order of the settings; at least one.

    Raises:
        ServiceError: if there is no bundle or two of one name.
        sid.manifest.BundleError: if a bundle cannot be served.
    """
    if not settings.bundles:
        raise ServiceError("no bundle to serve; pass --bundle NAME=DIR, written by 'radsearch export'")
    variants: dict[str, Variant] = {}
    for source in settings.bundles:
        bundle = Bundle.load(source.path)
        name = source.name or bundle.manifest.name
        if name in variants:
            raise ServiceError(f"two bundles are named '{name}'; name them apart with --bundle NAME=DIR")
        variants[name] = with_engine(name, bundle, settings, device)
    return variants


def with_engine(name: str, bundle: Bundle, settings: ServiceSettings, device: Device) -> Variant:
    """Load the model of a bundle on the device; blocks.

    Raises:
        ServiceError: if the bundle has no graph of the precision of the settings.
        sid.manifest.BundleError: if the model cannot be loaded.
    """
    precision = settings.precision_of(name)
    engine = Engine(bundle, device, precision, settings.intra_threads, settings.max_batch)
    return Variant(name, bundle, engine)
