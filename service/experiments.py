"""Which variant a user gets: the GrowthBook SDK on a features file, without a network."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growthbook import GrowthBookClient, Options, UserContext

from service.errors import ServiceError
from service.metrics import Metrics
from service.traffic import Traffic

FEATURE = "variant"
RULES = ("experiment", "force")  # what GrowthBook calls values that are no default

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who searches.

    Attributes:
        user_id: given by the shop; None for an unknown user.
        anonymous_id: of the browser or of this request.
    """

    user_id: str | None
    anonymous_id: str

    @property
    def id(self) -> str:
        """What experiments hash by default."""
        return self.user_id or self.anonymous_id


@dataclass(frozen=True)
class Assignment:
    """What a caller got, and why.

    Attributes:
        variant: name of a variant.
        experiment: key of the experiment that decided; None where none did.
        variation: index of the variant in that experiment.
    """

    variant: str
    experiment: str | None
    variation: int | None


class Experiments:
    """Assigns variants; the same caller gets the same variant on every replica and after every restart.

    Rules of the features file come first, then the shares of the traffic, then the default of the features
    file, then the first variant. What names a variant that is not loaded is passed over.
    """

    def __init__(
        self,
        client: GrowthBookClient,
        features: dict[str, Any],
        traffic: Callable[[], Traffic],
        metrics: Metrics,
    ) -> None:
        self.features = features
        self._client = client
        self._traffic = traffic
        self._metrics = metrics
        self._missed: set[str] = set()  # variants that were named and not loaded when they were last

    @classmethod
    async def load(cls, path: Path | None, traffic: Callable[[], Traffic], metrics: Metrics) -> "Experiments":
        """Read a features file, ``{"features": {…}}`` as GrowthBook sends it or the features alone.

        Args:
            path: of the file; None has no rules.
            traffic: tells what callers can get at the moment.
            metrics: told how often a variant that is named is not loaded.

        Raises:
            ServiceError: if the file cannot be used.
        """
        payload = _read(path) if path is not None else {"features": {FEATURE: {}}}
        client = GrowthBookClient(Options())  # without a client key it never asks a server
        try:
            await client.set_payload(payload)
            _named_variants(payload["features"][FEATURE])
        except (TypeError, AttributeError) as error:
            raise ServiceError(f"{path} holds no GrowthBook features ({error}); mend the file") from error
        return cls(client, payload["features"], traffic, metrics)

    def check(self) -> None:
        """Refuse rules that name a variant which is not loaded.

        Raises:
            ServiceError: naming it.
        """
        variants = self._traffic().variants
        for name in _named_variants(self.features[FEATURE]):
            if name not in variants:
                raise ServiceError(
                    f"the experiments' variant {name!r} is not loaded ({', '.join(variants)}); "
                    "pass its bundle with --bundle or change the file"
                )

    @property
    def default(self) -> str:
        """The variant of callers whom neither a rule nor a share concerns."""
        variants, named = self._traffic().variants, self.features[FEATURE].get("defaultValue")
        return named if named in variants else variants[0]

    async def assign(self, caller: Caller) -> Assignment:
        """Choose the caller's variant."""
        attributes = {"id": caller.id, "anonymous_id": caller.anonymous_id}
        if caller.user_id is not None:
            attributes["user_id"] = caller.user_id
        result = await self._client.eval_feature(FEATURE, UserContext(attributes=attributes))
        if result.value is not None and result.source in RULES and self._is_loaded(str(result.value)):
            if result.experiment is None or result.experimentResult is None:
                return Assignment(str(result.value), None, None)
            key, variation = result.experiment.key, result.experimentResult.variationId
            return Assignment(str(result.value), key, variation)
        variant = self._traffic().variant_of(caller.id)
        if variant is None or not self._is_loaded(variant):
            variant = self.default
        return Assignment(variant, None, None)

    def _is_loaded(self, variant: str) -> bool:
        """Whether a variant that was decided on can answer; notes where it cannot."""
        if variant in self._traffic().variants:
            self._missed.discard(variant)
            return True
        self._metrics.variant_fallbacks.inc()
        if variant not in self._missed:
            logger.warning("a variant is not loaded, others answer", extra={"variant": variant})
            self._missed.add(variant)
        return False

    async def close(self) -> None:
        """Release the client."""
        await self._client.close()


def _read(path: Path) -> dict[str, Any]:
    """The payload in a features file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ServiceError(f"{path} not found; pass --experiments FILE or leave it out") from error
    except ValueError as error:
        raise ServiceError(f"{path} is not JSON ({error}); mend the file") from error
    payload = raw if isinstance(raw, dict) and "features" in raw else {"features": raw}
    if not isinstance(payload["features"], dict) or FEATURE not in payload["features"]:
        raise ServiceError(f"{path} has no feature '{FEATURE}'; add it, its values are names of variants")
    return payload


def _named_variants(feature: dict[str, Any]) -> list[Any]:
    """Every value that the feature can take, apart from null, which means the first variant."""
    values = [feature.get("defaultValue")]
    for rule in feature.get("rules", []):
        values += [rule.get("force"), *rule.get("variations", []), *rule.get("contextualVariations", [])]
    return [value for value in values if value is not None]
