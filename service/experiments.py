"""What a caller gets: variant and settings, by rules of the features, shares of the traffic, or defaults."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from growthbook import UserContext

from service.access import FORCED_BY
from service.decoding import LAYERS, OPEN, ArmValue, Decoding, arms_of, layer_of
from service.errors import ServiceError
from service.features import Features, Source
from service.metrics import Metrics
from service.problems import InvalidRequestError
from service.rules import FEATURES, HOLDOUT, RULED, VARIANT, Exposures, Rules
from service.traffic import Traffic

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caller:
    """Who searches.

    Attributes:
        user_id: given by the shop; None for an unknown user.
        anonymous_id: of the browser or of this request.
        attributes: what else rules may ask for, such as country or device; kept nowhere.
        variant: that is asked for by name, by somebody who may.
    """

    user_id: str | None
    anonymous_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    variant: str | None = None

    @property
    def id(self) -> str:
        """What experiments hash by default."""
        return self.user_id or self.anonymous_id

    @property
    def known(self) -> dict[str, Any]:
        """All that rules may ask for."""
        own = {"id": self.id, "anonymous_id": self.anonymous_id}
        if self.user_id is not None:
            own["user_id"] = self.user_id
        return {**self.attributes, **own}


@dataclass(frozen=True)
class Arm:
    """One search that a caller gets.

    Attributes:
        variant: that answers; it is loaded.
        label: what it is called where two are interleaved, if not by its variant.
        decoding: the settings that something decides on.
    """

    variant: str
    label: str = ""
    decoding: Decoding = OPEN

    @classmethod
    def of(cls, value: ArmValue, variant: str) -> "Arm":
        """What a feature's value says of a variant."""
        return cls(variant, value.name or "", value)

    def with_settings(self, first: Decoding, last: Decoding = OPEN) -> "Arm":
        """With the settings that go before its own, and those that go behind."""
        return replace(self, decoding=first.or_else(self.decoding).or_else(last))


@dataclass(frozen=True)
class Assignment:
    """What a caller gets, and why.

    Attributes:
        arms: one, or two whose answers are interleaved.
        experiments: index of the caller's variation, by the key of each experiment that concerned the search.
        interleaving: key of what interleaves two arms.
    """

    arms: tuple[Arm, ...]
    experiments: Mapping[str, int] = field(default_factory=dict)
    interleaving: str | None = None

    @property
    def labels(self) -> list[str]:
        """What the arms are called."""
        return [arm.label or arm.variant for arm in self.arms]

    @property
    def variant(self) -> str:
        """The variant, or what both arms are called, joined."""
        return "+".join(self.labels)

    @property
    def alone(self) -> "Assignment":
        """The same with the first arm alone."""
        return replace(self, arms=self.arms[:1], interleaving=None)


class Experiments:
    """Assigns variants and settings; the same caller gets the same on every replica and after every restart.

    Rules of the feature ``variant`` come first, then the shares of the traffic, then the default of the
    feature, then the first variant. What names a variant that is not loaded is passed over. Then each layer
    decides what is still open. Whom ``holdout`` holds out gets all defaults.
    """

    def __init__(
        self,
        source: Source | None,
        cache: Path | None,
        traffic: Callable[[], Traffic],
        metrics: Metrics,
        may_load: bool = False,
    ) -> None:
        """Have no rules yet.

        Args:
            source: of the features; None has no rules.
            cache: file that keeps features for a start while the source is away.
            traffic: tells what callers can get at the moment.
            metrics: told of features that cannot be used, and of variants that are named and not loaded.
            may_load: whether variants come and go, so that rules may name one that is not there yet.
        """
        self._features = Features(source, cache, self._check, metrics)
        self._is_ours = source is not None and source.is_ours
        self._may_load = may_load
        self._traffic = traffic
        self._metrics = metrics
        self._missed: set[str] = set()  # variants that were named and not loaded when they were last

    async def start(self) -> None:
        """Read the features and follow them.

        Raises:
            ServiceError: if they are in a file that cannot be used.
        """
        await self._features.start()

    async def close(self) -> None:
        """Follow the features no longer."""
        await self._features.close()

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self._features.rules

    @property
    def problem(self) -> str:
        """Why the features as they are now are not in force; empty if they are."""
        return self._features.problem

    @property
    def default(self) -> str:
        """The variant of callers whom neither a rule nor a share concerns."""
        return self._default(self.rules).variant

    def check_loaded(self, variant: str) -> None:
        """Refuse a variant that staff ask for if it is not there.

        Raises:
            InvalidRequestError: naming those that are.
        """
        loaded = self._traffic().variants
        if variant not in loaded:
            raise InvalidRequestError(
                FORCED_BY, f"{variant!r} is not loaded, choose from {', '.join(loaded)}"
            )

    async def assign(self, caller: Caller, asked: Decoding = OPEN) -> Assignment:
        """Choose what a caller gets.

        Args:
            caller: who searches.
            asked: settings that the request makes; they go first.

        Raises:
            InvalidRequestError: if the caller asks for a variant that is not loaded.
        """
        if caller.variant is not None:
            self.check_loaded(caller.variant)
            return Assignment((Arm(caller.variant, decoding=asked),))
        rules, exposures = self.rules, Exposures()
        if rules.concern_nobody:  # many services run no experiment, and would pay for what decides nothing
            return Assignment((self._unruled(rules, caller).with_settings(asked),))
        user = UserContext(attributes=caller.known)
        held_out = await rules.evaluate(HOLDOUT, user, exposures)
        if held_out is not None and held_out.value is True:
            arm = self._default(rules)
            return Assignment((arm.with_settings(asked, rules.default_decoding),), exposures.variations)
        arms, interleaving = await self._ruled(rules, user, exposures, caller)
        if not arms:
            arms = (self._unruled(rules, caller),)
        settled = [asked.or_else(arm.decoding) for arm in arms]
        layers = OPEN
        for name in LAYERS:
            if any(getattr(decoding, name) is None for decoding in settled):
                result = await rules.evaluate(name, user, exposures)
                layers = layers if result is None else layers.or_else(layer_of(name, result.value))
        arms = tuple(arm.with_settings(asked, layers) for arm in arms)
        return Assignment(arms, exposures.variations, interleaving)

    async def _ruled(
        self, rules: Rules, user: UserContext, exposures: Exposures, caller: Caller
    ) -> tuple[tuple[Arm, ...], str | None]:
        """What rules give, if it is loaded, and the key of what interleaves it, if something does."""
        result = await rules.evaluate(VARIANT, user, exposures)
        if result is None or result.source not in RULED:
            return (), None
        values = arms_of(result.value)
        experiment = result.experiment.key if result.experiment is not None else None
        if not all(self._is_loaded(value.variant) for value in values if value.variant is not None):
            exposures.variations.pop(experiment or "", None)
            return (), None
        arms = tuple(Arm.of(value, value.variant or self._unruled(rules, caller).variant) for value in values)
        return arms, (experiment or result.ruleId or VARIANT) if len(arms) > 1 else None

    def _unruled(self, rules: Rules, caller: Caller) -> Arm:
        """What a caller gets whom no rule concerns."""
        variant = self._traffic().variant_of(caller.id)
        return Arm(variant) if variant is not None and self._is_loaded(variant) else self._default(rules)

    def _default(self, rules: Rules) -> Arm:
        """What a caller gets whom neither a rule nor a share concerns."""
        loaded = self._traffic().variants
        for value in arms_of(rules.default(VARIANT)):
            if value.variant is None or value.variant in loaded:
                return Arm.of(value, value.variant or loaded[0])
        return Arm(loaded[0])

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

    def _check(self, rules: Rules) -> None:
        """Refuse rules of our own that cannot be meant.

        Raises:
            ServiceError: saying why.
        """
        if not self._is_ours:
            return
        if not any(name in rules.features for name in FEATURES):
            raise ServiceError(f"the features have none that a search asks for: {', '.join(FEATURES)}")
        loaded = self._traffic().variants
        for name in rules.variants():
            if name not in loaded and not self._may_load:
                raise ServiceError(
                    f"the experiments' variant {name!r} is not loaded ({', '.join(loaded)}); "
                    "pass its bundle with --bundle or change the file"
                )
