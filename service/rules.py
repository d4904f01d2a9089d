"""One state of the features that say what callers get, evaluated by GrowthBook's SDK."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import orjson
from growthbook import (
    Experiment,
    FeatureResult,
    GrowthBookClient,
    Options,
    Result,
    TrackingBuffer,
    UserContext,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from service.decoding import LAYERS, OPEN, Decoding, arms_of, layer_of

VARIANT, HOLDOUT = "variant", "holdout"
FEATURES = (VARIANT, *LAYERS, HOLDOUT)
"""Those that are asked for a search; others of the payload count where a rule has them as prerequisites."""

RULED = ("experiment", "force")  # what GrowthBook calls values that are no default
SUM_TOLERANCE = 0.01  # of weights; past it the SDK would share equally without a word

Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[Share, Share]


class _Part(BaseModel):
    """Part of a payload, as far as the SDK computes with it; the SDK itself takes whatever comes."""

    model_config = ConfigDict(strict=True, frozen=True, alias_generator=to_camel)


class _Filter(_Part):
    seed: str = ""
    ranges: list[Range]
    hash_version: Literal[1, 2] | None = None


class Rule(_Part):
    """A rule of a feature.

    Attributes:
        id: of the rule.
        key: of its experiment; the feature's name by default.
        force: the value for everyone whom the rule concerns; otherwise there are ``variations``.
        weights: of the variations, in place of equal ones.
        coverage: share of the callers that take part.
        hash_attribute: by whose hash with ``seed`` callers are divided up.
    """

    id: str | None = None
    key: str | None = None
    force: Any = None
    variations: list[Any] | None = None
    weights: list[Share] | None = None
    coverage: Share | None = None
    range: Range | None = None
    ranges: list[Range] | None = None
    namespace: tuple[str, Share, Share] | None = None
    filters: list[_Filter] | None = None
    condition: dict[str, Any] | None = None
    parent_conditions: list[dict[str, Any]] | None = None
    seed: str | None = None
    hash_attribute: str | None = None
    hash_version: Literal[1, 2] | None = None
    meta: list[dict[str, Any]] | None = None

    @property
    def values(self) -> list[Any]:
        """What it can give."""
        return [self.force] if self.variations is None else self.variations

    def check(self) -> None:
        """Refuse an experiment that the SDK would run otherwise than it says, or not at all.

        Raises:
            ValueError: saying why.
        """
        if self.variations is None:
            if self.namespace is not None:
                raise ValueError("the SDK ignores the namespace of a rule that forces; write it as filters")
            return
        if len(self.variations) < 2:
            raise ValueError("an experiment needs two variations or more")
        if self.weights is not None:
            if len(self.weights) != len(self.variations):
                raise ValueError(f"{len(self.weights)} weights for {len(self.variations)} variations")
            if not math.isclose(sum(self.weights), 1, abs_tol=SUM_TOLERANCE):
                raise ValueError(f"the weights sum up to {sum(self.weights):g}, must be 1")


class _Feature(_Part):
    default_value: Any = None
    rules: list[Rule] = []


class _Payload(_Part):
    features: dict[str, _Feature]


class Exposures(TrackingBuffer):
    """The experiments that a caller takes part in.

    Attributes:
        variations: index of the caller's variation, by the experiment's key.
    """

    def __init__(self) -> None:
        super().__init__()
        self.variations: dict[str, int] = {}

    def record(self, experiment: Experiment[Any], result: Result[Any], user: UserContext) -> None:
        """Called by the SDK for every experiment on the way to a value, prerequisites too."""
        del user  # what is known of the caller goes nowhere
        self.variations[experiment.key] = result.variationId


class Rules:
    """What a payload says; never changes.

    Attributes:
        features: as they came, by name.
    """

    def __init__(self, client: GrowthBookClient, features: Mapping[str, Any], typed: _Payload) -> None:
        self.features = features
        self._client = client
        self._typed = {name: typed.features[name] for name in FEATURES if name in typed.features}

    @classmethod
    async def read(cls, text: str) -> "Rules":
        """Read a payload, ``{"features": {…}}`` as GrowthBook sends it, or the features alone.

        Raises:
            ValueError: if it cannot be used; says why.
        """
        payload = orjson.loads(text)
        if not isinstance(payload, dict):
            raise ValueError("is no JSON object")
        if "encryptedFeatures" in payload:
            raise ValueError("is encrypted; turn the encryption of its SDK connection off")
        if "features" not in payload:
            payload = {"features": payload}
        try:
            typed = _Payload.model_validate_json(orjson.dumps(payload))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
        client = GrowthBookClient(Options())  # without a client key it never asks a server
        await client.set_payload(payload)
        rules = cls(client, payload["features"], typed)
        rules._check()
        return rules

    @classmethod
    def none(cls) -> "Rules":
        """Rules that concern nobody."""
        return cls(GrowthBookClient(Options()), {}, _Payload(features={}))

    @property
    def concern_nobody(self) -> bool:
        """Whether there is none of the features that are asked for a search."""
        return not self._typed

    async def evaluate(
        self, name: str, user: UserContext, exposures: Exposures | None = None
    ) -> FeatureResult[Any] | None:
        """The value of a feature for a caller; None where there is no such feature.

        Args:
            name: one of ``FEATURES``.
            user: the caller.
            exposures: told of the experiments that the caller takes part in.
        """
        if name not in self._typed:
            return None
        return await self._client.eval_feature(name, user, tracking_buffer=exposures)

    def default(self, name: str) -> object:
        """The value of a feature for callers whom no rule concerns."""
        return self._typed[name].default_value if name in self._typed else None

    @cached_property
    def default_decoding(self) -> Decoding:
        """The settings of callers whom no rule concerns."""
        decoding = OPEN
        for name in LAYERS:
            decoding = decoding.or_else(layer_of(name, self.default(name)))
        return decoding

    def rules(self) -> Iterator[tuple[str, Rule]]:
        """Every rule with the name of its feature."""
        for name, feature in self._typed.items():
            for rule in feature.rules:
                yield name, rule

    def variants(self) -> list[str]:
        """Names of all variants that callers could get."""
        values = [self.default(VARIANT)]
        for name, rule in self.rules():
            values += rule.values if name == VARIANT else []
        arms = [arm for value in values for arm in arms_of(value)]
        return list(dict.fromkeys(arm.variant for arm in arms if arm.variant is not None))

    def _check(self) -> None:
        """Refuse what means nothing here.

        Raises:
            ValueError: naming the feature and what is wrong.
        """
        for name, feature in self._typed.items():
            try:
                _check_value(name, feature.default_value)
                for rule in feature.rules:
                    rule.check()
                    for value in rule.values:
                        _check_value(name, value)
            except ValueError as error:
                raise ValueError(f"feature '{name}': {error}") from None
        if len(arms_of(self.default(VARIANT))) > 1:
            raise ValueError(f"feature '{VARIANT}': it interleaves by default, where only a rule may")


def _check_value(name: str, value: object) -> None:
    if name == VARIANT:
        arms_of(value)
    elif name in LAYERS:
        layer_of(name, value)
    elif not isinstance(value, bool | None):
        raise ValueError(f"{value!r} is neither true nor false")
