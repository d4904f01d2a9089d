"""The metrics of users under each variation, and how they differ.

Every figure is of users, since variations were given to users: a ratio such as clicked searches per search
has the variance of a ratio of means over users (delta method; Deng, Knoblich and Lu, KDD 2018), not that of
independent searches. What users did before the experiment takes variance out (CUPED; Deng et al., WSDM 2013).
The p-values of all metrics and variations that are tested are corrected together by Holm's method.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import tea_tasting as tt
from tea_tasting.aggr import Aggregates
from tea_tasting.experiment import ExperimentResult
from tea_tasting.metrics import AggrCols, aggregate_by_variants
from tea_tasting.metrics.mean import MeanResult

from experiments.exposed import CONTROL
from experiments.latency import Quantile, Z, relative_difference
from experiments.metrics import Latency, Metric, Unit, ratio_of_means, variance
from experiments.power import Plan, Power, power_of
from reports.intervals import Interval, Kind

Users = Mapping[int, Aggregates]  # by variation


@dataclass(frozen=True)
class Difference:
    """How one variation is above the control.

    Attributes:
        relative: to the control, with its 95% interval; None where the control is 0.
        p: of no difference, two-sided.
        p_adjusted: by Holm, over everything that was tested.
        kind: good, bad, or not to be told, by ``p_adjusted``.
        width_kept: by CUPED, share of the interval's width; None where it was not used.
        power: what these users can show; None of latencies.
    """

    relative: Interval | None
    p: float
    p_adjusted: float
    kind: Kind
    width_kept: float | None = None
    power: Power | None = None


@dataclass(frozen=True)
class MetricResult:
    """A metric under all variations.

    Attributes:
        name, title, unit, lower_is_better: of the metric.
        values: by variation, with 95% intervals.
        differences: by variation other than the control; None where nothing can be tested, such as a metric
            that is the same for all users.
    """

    name: str
    title: str
    unit: Unit
    lower_is_better: bool
    values: Mapping[int, Interval]
    differences: Mapping[int, Difference | None]


@dataclass(frozen=True)
class _Tested:
    """A difference before it is known how many there are."""

    effect: float
    relative: Interval | None
    p: float
    width_kept: float | None = None


def aggregated(users: pa.Table, metrics: Sequence[Metric]) -> dict[int, Aggregates]:
    """Means, variances and covariances of users by variation: all that the metrics need."""
    columns = AggrCols(has_count=True)
    for metric in metrics:
        columns |= ratio_of_means(metric, covaried=True).aggr_cols
    by_variation: dict[int, Aggregates] = aggregate_by_variants(users, columns, "variation")
    return dict(sorted(by_variation.items()))


def compare(
    users: Users,
    metrics: Sequence[Metric],
    latencies: Mapping[Latency, Mapping[int, Quantile]],
    plan: Plan,
    n_days: float | None,
) -> list[MetricResult]:
    """Compare every variation with the control.

    Args:
        users: from :func:`aggregated`; has the control.
        metrics: that are tested.
        latencies: by latency that is tested and variation.
        plan: level, effect and power. Power is that of the strictest step of Holm's method, which is on the
            safe side.
        n_days: how long users came; None leaves out what power they have.
    """
    others = [variation for variation in users if variation != CONTROL]
    tested = {(metric.name, other): _tested(metric, users, other) for metric in metrics for other in others}
    for latency, by_variation in latencies.items():
        tested |= {(latency.name, other): _tested_latency(by_variation, other) for other in others}
    found = {key: one for key, one in tested.items() if one is not None}
    adjusted = _holm(found, plan.alpha)
    strictest = replace(plan, alpha=plan.alpha / max(len(found), 1))

    def difference(metric: Metric | Latency, other: int) -> Difference | None:
        one = found.get((metric.name, other))
        if one is None:
            return None
        p_adjusted = adjusted[metric.name, other]
        kind = _kind(one.effect, metric.lower_is_better) if p_adjusted < plan.alpha else "same"
        power = None
        if isinstance(metric, Metric) and n_days is not None:
            power = _power(metric, one, users, other, strictest, n_days)
        return Difference(one.relative, one.p, p_adjusted, kind, one.width_kept, power)

    values: dict[Metric | Latency, dict[int, Interval]] = {
        metric: {number: value(metric, one) for number, one in users.items()} for metric in metrics
    }
    for latency, by_variation in latencies.items():
        values[latency] = {number: one.interval for number, one in by_variation.items()}
    return [
        MetricResult(
            metric.name,
            metric.title,
            metric.unit,
            metric.lower_is_better,
            of_metric,
            {other: difference(metric, other) for other in others},
        )
        for metric, of_metric in values.items()
    ]


def value(metric: Metric, users: Aggregates) -> Interval:
    """A metric of some users, with its 95% interval."""
    mean = float(users.mean(metric.numerator) / users.mean(metric.denominator))
    half = Z * math.sqrt(variance(metric, users) / users.count())
    return Interval(mean, mean - half, mean + half)


def _tested(metric: Metric, users: Users, other: int) -> _Tested | None:
    """Test one metric; None where all users are alike."""
    pair = {number: users[number] for number in (CONTROL, other)}
    if not any(variance(metric, one) > 0 for one in pair.values()):
        return None
    plain = ratio_of_means(metric, covaried=False).analyze(pair, CONTROL, other)
    if not _has_covariate(metric, pair):
        return _Tested(float(plain.effect_size), _relative(plain), float(plain.pvalue))
    found = ratio_of_means(metric, covaried=True).analyze(pair, CONTROL, other)
    kept = _width(found) / _width(plain)
    return _Tested(float(found.effect_size), _relative(found), float(found.pvalue), kept)


def _has_covariate(metric: Metric, users: Users) -> bool:
    """Whether what users did before tells them apart."""
    columns = [f"pre_{name}" for name in (metric.numerator, metric.denominator) if name]
    return all(one.mean(name) > 0 and one.var(name) > 0 for one in users.values() for name in columns)


def _relative(found: MeanResult) -> Interval | None:
    ends = (found.rel_effect_size, found.rel_effect_size_ci_lower, found.rel_effect_size_ci_upper)
    return Interval(*map(float, ends)) if all(map(math.isfinite, ends)) else None


def _width(found: MeanResult) -> float:
    return float(found.effect_size_ci_upper - found.effect_size_ci_lower)


def _tested_latency(quantiles: Mapping[int, Quantile], other: int) -> _Tested | None:
    if CONTROL not in quantiles or other not in quantiles:
        return None
    relative, p = relative_difference(quantiles[other], quantiles[CONTROL])
    return None if relative is None else _Tested(relative.mean, relative, p)


def _holm(tested: Mapping[tuple[str, int], _Tested], alpha: float) -> dict[tuple[str, int], float]:
    """Adjusted p-values of everything that was tested."""
    results = {key: ExperimentResult({"": {"pvalue": one.p}}) for key, one in tested.items()}
    if not results:
        return {}
    # Holm's step-down method with Bonferroni's correction assumes nothing of how the metrics hang together.
    adjusted = tt.adjust_fwer(results, alpha=alpha, arbitrary_dependence=True, method="bonferroni")
    return {key: result[""]["pvalue_adj"] for key, result in adjusted.items()}


def _power(metric: Metric, one: _Tested, users: Users, other: int, plan: Plan, n_days: float) -> Power | None:
    covaried = one.width_kept is not None
    return power_of(metric, users[CONTROL], users[other].count(), plan, n_days, covaried=covaried)


def _kind(effect: float, lower_is_better: bool) -> Kind:
    return "better" if (effect < 0) == lower_is_better else "worse"
