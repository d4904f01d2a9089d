"""A value and how sure we are of it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["better", "worse", "same"]


@dataclass(frozen=True)
class Interval:
    """An estimate with the interval it may lie in.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> "Interval":
        """A value that is known."""
        return cls(value, value, value)

    def kind(self, lower_is_better: bool = False) -> Kind:
        """Of a difference: on which side of 0 it is, where its interval excludes 0."""
        if self.low <= 0 <= self.high:
            return "same"
        return "worse" if (self.low > 0) == lower_is_better else "better"

    def shown(self, factor: float = 1.0, decimals: int = 2) -> str:
        """As a difference reads: ``+0.41 [+0.10, +0.72]``."""
        mean, low, high = (value * factor for value in (self.mean, self.low, self.high))
        return f"{mean:+.{decimals}f} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
