"""Quantiles of latency by variation, with intervals that know that users search more than once.

The share of searches at or below a quantile is a ratio of means over users, so its standard error follows
from the delta method; the quantiles at that share plus and minus the error bound the quantile (Deng, Knoblich
and Lu, "Applying the Delta Method in Metric Analytics", KDD 2018).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from experiments.metrics import Latency
from reports.intervals import Interval

MIN_BEYOND = 20  # searches beyond a quantile, without which it says nothing
Z = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Quantile:
    """A quantile of one variation.

    Attributes:
        value: milliseconds.
        error: its standard error.
    """

    value: float
    error: float

    @property
    def interval(self) -> Interval:
        """With 95% confidence."""
        return Interval(self.value, self.value - Z * self.error, self.value + Z * self.error)


def quantiles(
    latencies: Sequence[Latency],
    searches: Mapping[str, NDArray[Any]],
) -> dict[Latency, dict[int, Quantile]]:
    """Find the quantiles of every variation; one with too few searches for a quantile is left out.

    Args:
        latencies: which.
        searches: columns variation, user (a number) and total_ms, one row per search.
    """
    found: dict[Latency, dict[int, Quantile]] = {latency: {} for latency in latencies}
    for variation in np.unique(searches["variation"]).tolist():
        of_variation = searches["variation"] == variation
        _, users = np.unique(searches["user"][of_variation], return_inverse=True)
        total_ms = searches["total_ms"][of_variation]
        for latency in latencies:
            if len(total_ms) * (1 - latency.quantile) >= MIN_BEYOND and users.max() > 0:
                found[latency][variation] = quantile(latency.quantile, users, total_ms)
    return found


def quantile(share: float, users: NDArray[np.int64], total_ms: NDArray[np.float64]) -> Quantile:
    """One quantile with its standard error.

    Args:
        share: which, 0..1.
        users: of each search, int64 [n_searches], numbered from 0; two at least.
        total_ms: of each search, float64 [n_searches].
    """
    value = float(np.quantile(total_ms, share))
    searches = np.bincount(users).astype(np.float64)
    below = np.bincount(users, weights=total_ms <= value)
    residuals = below - share * searches
    share_error = float(residuals.std(ddof=1)) / float(searches.mean()) / math.sqrt(len(searches))
    ends = np.quantile(total_ms, np.clip([share - Z * share_error, share + Z * share_error], 0.0, 1.0))
    return Quantile(value, float(ends[1] - ends[0]) / (2 * Z))


def relative_difference(treatment: Quantile, control: Quantile) -> tuple[Interval | None, float]:
    """How far one is above the other, relative to it, with 95% interval; and the p-value of no difference."""
    if control.value <= 0 or treatment.value <= 0:
        return None, math.nan
    log_error = math.hypot(control.error / control.value, treatment.error / treatment.value)
    if log_error == 0:
        return None, math.nan
    log_ratio = math.log(treatment.value / control.value)
    ends = (math.expm1(log_ratio + side * Z * log_error) for side in (0, -1, 1))
    return Interval(*ends), float(2 * norm.sf(abs(log_ratio) / log_error))
