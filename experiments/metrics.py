"""The metrics of an experiment: what they are, per user."""

from dataclasses import dataclass
from typing import Any, Literal

import tea_tasting as tt
from tea_tasting.aggr import Aggregates

CONFIDENCE = 0.95
ROUNDING = 1e-12  # of a ratio's square; what varies less does not vary

Unit = Literal["share", "amount", "ms"]


@dataclass(frozen=True)
class Metric:
    """A mean over users, or a ratio of two such means.

    Attributes:
        name: for options and JSON.
        title: for people.
        numerator: column of a user.
        denominator: column of a user; None for a mean per user.
        unit: of its values.
        lower_is_better: whether less of it is good.
    """

    name: str
    title: str
    numerator: str
    denominator: str | None
    unit: Unit
    lower_is_better: bool = False


@dataclass(frozen=True)
class Latency:
    """A quantile of the latency of searches.

    Attributes:
        name, title, unit, lower_is_better: as of a :class:`Metric`.
        quantile: which, 0..1.
    """

    name: str
    title: str
    quantile: float
    unit: Unit = "ms"
    lower_is_better: bool = True


METRICS = (
    Metric("ctr", "click-through rate", "clicked", "searches", "share"),
    Metric("cvr", "conversion rate", "bought", "searches", "share"),
    Metric("buyers", "users who buy", "buyers", None, "share"),
    Metric("revenue", "revenue per user", "revenue", None, "amount"),
    Metric("zero_results", "searches without items", "empty", "searches", "share", lower_is_better=True),
    Metric(
        "abandonment", "sessions without an action", "abandoned", "sessions", "share", lower_is_better=True
    ),
)
LATENCIES = (Latency("latency_p50", "latency, median", 0.5), Latency("latency_p99", "latency, p99", 0.99))

NAMES = tuple(metric.name for metric in (*METRICS, *LATENCIES))


def ratio_of_means(metric: Metric, *, covaried: bool, **options: Any) -> tt.RatioOfMeans:  # noqa: ANN401
    """The metric for tea-tasting, with or without what users did before (CUPED)."""
    names = (metric.numerator, metric.denominator)
    before = [f"pre_{name}" if covaried and name else None for name in names]
    return tt.RatioOfMeans(*names, *before, confidence_level=CONFIDENCE, **options)


def variance(metric: Metric, users: Aggregates) -> float:
    """How much users differ in a metric, by the delta method; 0 where they do not."""
    found = float(users.ratio_var(metric.numerator, metric.denominator))
    ratio = float(users.mean(metric.numerator) / users.mean(metric.denominator))
    return found if found > ROUNDING * ratio**2 else 0.0
