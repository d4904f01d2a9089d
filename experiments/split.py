"""Users split among the variations of an experiment, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from experiments.comparison import MetricResult, aggregated, compare
from experiments.errors import ExperimentError
from experiments.exposed import Exposed
from experiments.latency import quantiles
from experiments.metrics import LATENCIES, METRICS
from experiments.power import Plan
from experiments.sample_ratio import SampleRatio, sample_ratio
from experiments.trend import Day, trend

N_LATENCY_QUANTILES = 101


@dataclass(frozen=True)
class Variation:
    """One arm of an experiment.

    Attributes:
        number: 0 is the control.
        variant: that answered most of its searches.
        users, searches: who saw it, and how often.
        answered_by_others: share of the searches that another variant answered, because this one was not
            loaded or the experiment's variants changed.
    """

    number: int
    variant: str
    users: int
    searches: int
    answered_by_others: float


@dataclass(frozen=True)
class Split:
    """Users split among variations, and what came of it.

    Attributes:
        first, last: the first and the last search.
        variations: the arms.
        sample_ratio: whether the users are split as they should be.
        n_crossed: users who saw several variations and are left out.
        metrics: compared; none where the sample ratio is not sound.
        days: click-through rate by day.
        latency_quantiles: milliseconds by variation, at 0%, 1%, …, 100% of the searches.
    """

    first: datetime
    last: datetime
    variations: list[Variation]
    sample_ratio: SampleRatio
    n_crossed: int
    metrics: list[MetricResult]
    days: list[Day]
    latency_quantiles: dict[int, list[float]]

    @property
    def n_days(self) -> float:
        """From the first search to the last."""
        return (self.last - self.first) / timedelta(days=1)


def split_of(users: Exposed, plan: Plan, weights: Sequence[float] | None, names: Sequence[str]) -> Split:
    """Compare the variations.

    Args:
        users: who took part.
        plan: level, effect and power.
        weights: of the variations, in any proportion; None for equal ones.
        names: of the metrics that are tested.

    Raises:
        ExperimentError: if there are not two variations with users, the control among them.
    """
    metrics = [metric for metric in METRICS if metric.name in names]
    latencies = [latency for latency in LATENCIES if latency.name in names]
    by_variation = aggregated(users.users, metrics)
    if not users.is_comparable:
        raise ExperimentError(
            f"only variation {', '.join(map(str, by_variation)) or 'none'} has users so far; "
            "there is nothing to compare"
        )
    ratio = sample_ratio({number: one.count() for number, one in by_variation.items()}, weights)
    compared = []
    if ratio.is_sound:
        found = quantiles(latencies, users.latencies)
        compared = compare(by_variation, metrics, found, plan, users.n_days)
    return Split(
        users.first.replace(tzinfo=UTC),
        users.last.replace(tzinfo=UTC),
        [_variation(number, one.count(), users) for number, one in by_variation.items()],
        ratio,
        users.n_crossed,
        compared,
        trend(users.days),
        _latency_quantiles(users),
    )


def _variation(number: int, n_users: int, users: Exposed) -> Variation:
    answered = users.answered[number]
    variant, searches = next(iter(answered.items()))
    total = sum(answered.values())
    return Variation(number, variant, n_users, total, 1 - searches / total)


def _latency_quantiles(users: Exposed) -> dict[int, list[float]]:
    found = {}
    for number in np.unique(users.latencies["variation"]).tolist():
        total_ms = users.latencies["total_ms"][users.latencies["variation"] == number]
        found[number] = np.quantile(total_ms, np.linspace(0, 1, N_LATENCY_QUANTILES)).tolist()
    return found
