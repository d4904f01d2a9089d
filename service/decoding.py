"""What experiments may set of a search: which variant answers, how wide it searches, how items are ordered.

They are values of GrowthBook features. Each field of :class:`Decoding` is a feature of its own; a value of
the feature ``variant`` is any of

    "rad-dpo"
    {"variant": "rad-dpo", "beam_width": 64}
    {"interleave": ["rad-dpo", {"variant": "rad-dpo", "ordering": {"words": 2.0}, "name": "by-words"}]}
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from sid import OrderingWeights

WEIGHTS = tuple(field.name for field in fields(OrderingWeights))
MAX_WEIGHT = 1e6  # keeps every score finite


def _arm(value: object) -> object:
    """A variant's name stands for an arm without settings."""
    return {"variant": value} if isinstance(value, str) else value


def _weight(name: str) -> str:
    if name not in WEIGHTS:
        raise ValueError(f"is no weight, choose from {', '.join(WEIGHTS)}")
    return name


Count = Annotated[int, Field(strict=True, ge=1)]
Weight = Annotated[float, Field(strict=True, ge=-MAX_WEIGHT, le=MAX_WEIGHT, allow_inf_nan=False)]
WeightName = Annotated[
    str, AfterValidator(_weight), WithJsonSchema({"type": "string", "enum": list(WEIGHTS)})
]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


@dataclass(frozen=True)
class Decoding:
    """How a search decodes; None leaves a setting to others.

    Attributes:
        beam_width: SIDs to look for; a variant that searches fewer looks for its most.
        ordering: weights of a score by name; the others are the bundle's.
        max_per_sid: items of one SID in an answer at most.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    beam_width: Count | None = None
    ordering: dict[WeightName, Weight] | None = None
    max_per_sid: Count | None = None

    def or_else(self, others: "Decoding") -> "Decoding":
        """With the settings of others where this leaves them open."""
        own = ((getattr(self, name), getattr(others, name)) for name in LAYERS)
        return Decoding(*(theirs if ours is None else ours for ours, theirs in own))


OPEN = Decoding()
"""Leaves every setting to others."""

LAYERS = tuple(field.name for field in fields(Decoding))
"""The features by which experiments that do not know of each other set one thing each."""


@dataclass(frozen=True)
class ArmValue(Decoding):
    """One thing that callers may get.

    Attributes:
        variant: that answers; None is the one that answers callers whom no rule concerns.
        name: what tells it from the other one where both are interleaved; the variant's by default.
    """

    variant: Name | None = None
    name: Label | None = None


@dataclass(frozen=True)
class _Interleaving:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    interleave: tuple[Annotated[ArmValue, BeforeValidator(_arm)], Annotated[ArmValue, BeforeValidator(_arm)]]


_DECODING, _ARM, _INTERLEAVING = TypeAdapter(Decoding), TypeAdapter(ArmValue), TypeAdapter(_Interleaving)

Value = TypeVar("Value")


def arms_of(value: object) -> tuple[ArmValue, ...]:
    """Read a value of the feature ``variant``.

    Returns:
        One arm, or two to interleave, or none where the value is null and decides nothing.

    Raises:
        ValueError: if it is no such value.
    """
    if value is None:
        return ()
    if isinstance(value, dict) and "interleave" in value:
        first, second = _read(_INTERLEAVING, value).interleave
        if first.variant is None or second.variant is None:
            raise ValueError("what is interleaved must name its variants")
        if (first.name or first.variant) == (second.name or second.variant):
            raise ValueError(f"two named {first.variant!r} are interleaved; give one of them a 'name'")
        return first, second
    arm = _read(_ARM, value if isinstance(value, dict) else {"variant": value})
    if arm.name is not None:
        raise ValueError("name: only what is interleaved has one")
    return (arm,)


def layer_of(name: str, value: object) -> Decoding:
    """Read a value of the feature that one of ``LAYERS`` names.

    Raises:
        ValueError: if it is no such value.
    """
    return _read(_DECODING, {name: value})


def _read(adapter: TypeAdapter[Value], value: dict[str, Any]) -> Value:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
