"""The variants a service offers: bundle and engine under the name that experiments use."""

from collections.abc import Mapping
from dataclasses import dataclass

from service.bundle import Bundle
from service.engine import Engine
from service.epoch import Epoch
from service.errors import ServiceError
from service.settings import ServiceSettings


@dataclass(frozen=True)
class Variant:
    """What an experiment assigns.

    Attributes:
        name: the experiment's word for it.
        bundle: the model's files.
        engine: the model, loaded on the device, held to the bundle's epoch.
    """

    name: str
    bundle: Bundle
    engine: Engine

    @property
    def epoch(self) -> Epoch:
        """The catalogue it answers from."""
        return self.bundle.epoch


def load_variants(settings: ServiceSettings) -> dict[str, Variant]:
    """Load every bundle; blocks, for seconds where catalogues are large.

    Returns:
        Variants by name, in the order of the settings; at least one.

    Raises:
        ServiceError: if there is no bundle or two of one name.
        sid.manifest.BundleError: if a bundle cannot be served.
    """
    if not settings.bundles:
        raise ServiceError("no bundle to serve; pass --bundle NAME=DIR, written by 'radsearch export'")
    epochs: dict[str, Epoch] = {}
    variants: dict[str, Variant] = {}
    for source in settings.bundles:
        bundle = Bundle.load(source.path, epochs, settings.filter_cache)
        name = source.name or bundle.manifest.name
        if name in variants:
            raise ServiceError(f"two bundles are named '{name}'; name them apart with --bundle NAME=DIR")
        engine = Engine(bundle, settings.provider, settings.intra_threads)
        engine.warm_up()
        variants[name] = Variant(name, bundle, engine)
    return variants


def epochs_of(variants: Mapping[str, Variant]) -> list[Epoch]:
    """The distinct epochs of some variants."""
    return list({variant.epoch.id: variant.epoch for variant in variants.values()}.values())
