"""Axes: from values to places on the paper, and the round numbers that stand at them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from reports import svg

N_TICKS = 4
LEFT, BELOW, TOP = 52, 40, 8  # room for the numbers and names of the axes, pixels


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Attributes:
        label: its name with its unit.
        factor: what values are multiplied by when they are written: 100 for percent.
        signed: whether a plus is written.
        from_zero: whether 0 is on it.
        logarithmic: whether equal distances are equal ratios; only for values above 0.
    """

    label: str
    factor: float = 1.0
    signed: bool = False
    from_zero: bool = False
    logarithmic: bool = False

    def over(self, values: Iterable[float], start: float, end: float) -> "Scale":
        """The scale on which all these values lie, between two places on the paper."""
        finite = [value * self.factor for value in values if math.isfinite(value)]
        if self.logarithmic:
            finite = [value for value in finite if value > 0]
        if self.from_zero:
            finite.append(0.0)
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        if self.logarithmic:
            low, high = (low, high) if 0 < low < high else (0.9 * (low or 1.0), 1.1 * (high or 1.0))
            return Scale(self, low, high, start, end)
        room = 0.06 * (high - low) or abs(0.05 * high) or 0.5
        at_zero = self.from_zero and low == 0.0
        return Scale(self, low if at_zero else low - room, high + room, start, end)


@dataclass(frozen=True)
class Scale:
    """Where the values of an axis lie.

    Attributes:
        axis: whose.
        low, high: the ends, as they are written (times the factor).
        start, end: their places, pixels.
    """

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, before the factor; what lies outside is put to the end."""
        shown = value * self.axis.factor
        if self.axis.logarithmic:
            part = math.log(max(shown, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (shown - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(max(part, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Places and what is written there."""
        values = self._decades() if self.axis.logarithmic else round_values(self.low, self.high)
        step = min((b - a for a, b in pairwise(values)), default=1.0)
        return [(self(value / self.axis.factor), self._written(value, step)) for value in values]

    def _decades(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
        inside = [value for value in values if self.low <= value <= self.high]
        whole = [value for value in inside if math.log10(value).is_integer()]
        return whole if len(inside) > 2 * N_TICKS and len(whole) > 1 else inside or [self.low, self.high]

    def _written(self, value: float, step: float) -> str:
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        if self.axis.logarithmic:
            return f"{value:g}"
        sign = "+" if self.axis.signed and abs(value) > step / 1000 else ""
        return f"{value + 0.0:{sign},.{decimals}f}"  # + 0.0: no minus before a zero


def round_values(low: float, high: float) -> list[float]:
    """A few round values between two."""
    step = 10 ** math.floor(math.log10((high - low) / N_TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= N_TICKS + 1)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def horizontal_grid(scale: Scale, left: float, right: float) -> list[str]:
    """The lines and numbers of a y axis, and its name above."""
    parts = [svg.text(0, TOP + 2, scale.axis.label, "start", "tick")]
    for place, written in scale.ticks():
        parts += [
            svg.line(left, place, right, place, "grid"),
            svg.text(left - 6, place + 4, written, "end", "tick"),
        ]
    return parts


def vertical_grid(scale: Scale, top: float, bottom: float) -> list[str]:
    """The lines and numbers of an x axis, and its name below."""
    parts = [svg.text((scale.start + scale.end) / 2, bottom + 32, scale.axis.label, "middle", "tick")]
    for place, written in scale.ticks():
        parts += [
            svg.line(place, top, place, bottom, "grid"),
            svg.text(place, bottom + 16, written, "middle", "tick"),
        ]
    return parts
