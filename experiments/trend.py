"""The click-through rate by day, to see whether a difference lasts or was a novelty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.latency import Z
from reports.intervals import Interval


@dataclass(frozen=True)
class Day:
    """One day of an experiment.

    Attributes:
        day: from 0, 24 hours each.
        ctr: by variation, share of searches with a click, with 95% interval over users.
    """

    day: int
    ctr: dict[int, Interval]


def trend(days: Mapping[str, NDArray[Any]]) -> list[Day]:
    """Put users' days together.

    Args:
        days: columns day, variation, searches, clicked, one row per user and day.
    """
    found: dict[int, dict[int, Interval]] = {}
    for day, variation in np.unique(np.stack([days["day"], days["variation"]], axis=1), axis=0).tolist():
        chosen = (days["day"] == day) & (days["variation"] == variation)
        found.setdefault(day, {})[variation] = _ratio(days["clicked"][chosen], days["searches"][chosen])
    return [Day(day, by_variation) for day, by_variation in sorted(found.items())]


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Interval:
    """A ratio of sums over users, with the delta method's interval; a single user has one of no width."""
    ratio = float(numerator.sum() / denominator.sum())
    residuals = (numerator - ratio * denominator) / denominator.mean()
    half = Z * float(residuals.std(ddof=1)) / math.sqrt(len(residuals)) if len(residuals) > 1 else 0.0
    return Interval(ratio, ratio - half, ratio + half)
