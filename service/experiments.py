"""Which variant a user gets: the GrowthBook SDK on a features file, without a network."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growthbook import GrowthBookClient, Options, UserContext

from service.errors import ServiceError

FEATURE = "variant"


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
    """Assigns variants; the same caller gets the same variant on every replica and after every restart."""

    def __init__(self, client: GrowthBookClient, features: dict[str, Any], fallback: str) -> None:
        self.features = features
        self._client = client
        self._fallback = fallback

    @classmethod
    async def load(cls, path: Path | None, variants: Collection[str]) -> "Experiments":
        """Read a features file, ``{"features": {…}}`` as GrowthBook sends it or the features alone.

        Args:
            path: of the file; None assigns the first variant to everybody.
            variants: names of those that are loaded, the first for users whom no rule concerns.

        Raises:
            ServiceError: if the file cannot be used or names a variant that is not loaded.
        """
        fallback = next(iter(variants))
        payload = _read(path) if path is not None else {"features": {FEATURE: {"defaultValue": fallback}}}
        client = GrowthBookClient(Options())  # without a client key it never asks a server
        try:
            await client.set_payload(payload)
            for name in _named_variants(payload["features"][FEATURE]):
                if name not in variants:
                    raise ServiceError(
                        f"{path}: variant {name!r} is not loaded ({', '.join(variants)}); "
                        "pass its bundle with --bundle or change the file"
                    )
        except (TypeError, AttributeError) as error:
            raise ServiceError(f"{path} holds no GrowthBook features ({error}); mend the file") from error
        return cls(client, payload["features"], fallback)

    async def assign(self, caller: Caller) -> Assignment:
        """Choose the caller's variant."""
        attributes = {"id": caller.id, "anonymous_id": caller.anonymous_id}
        if caller.user_id is not None:
            attributes["user_id"] = caller.user_id
        result = await self._client.eval_feature(FEATURE, UserContext(attributes=attributes))
        variant = self._fallback if result.value is None else str(result.value)
        if result.experiment is None or result.experimentResult is None:
            return Assignment(variant, None, None)
        return Assignment(variant, result.experiment.key, result.experimentResult.variationId)

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
