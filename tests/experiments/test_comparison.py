import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from experiments.comparison import MetricResult, aggregated, compare
from experiments.metrics import METRICS, Metric
from experiments.power import Plan

BY_NAME = {metric.name: metric for metric in METRICS}
COLUMNS = ("searches", "clicked", "bought", "buyers", "revenue", "empty", "sessions", "abandoned")


def users(n: int, lift: float = 0.0, seed: int = 0, known: bool = True, n_variations: int = 2) -> pa.Table:
    """Users who differ in habit; those of later variations click more often by ``lift``."""
    random = np.random.default_rng(seed)
    variation = random.integers(0, n_variations, n)
    habit = random.beta(2, 3, n)
    columns: dict[str, Any] = {"variation": variation}
    for prefix, rate in (("pre_", habit), ("", np.clip(habit * (1 + lift * variation), 0, 1))):
        searches = 1 + random.poisson(4 * (0.5 + habit))
        clicked = random.binomial(searches, rate)
        bought = random.binomial(clicked, 0.3)
        counts = {
            "searches": searches,
            "clicked": clicked,
            "bought": bought,
            "buyers": bought > 0,
            "revenue": bought * random.lognormal(3, 0.5, n),
            "empty": np.zeros(n),
            "sessions": searches,
            "abandoned": searches - clicked,
        }
        is_there = known or prefix == ""
        columns |= {prefix + name: counts[name] * float(is_there) for name in COLUMNS}
    return pa.table(columns)


def compared(table: pa.Table, *names: str, plan: Plan | None = None) -> dict[str, MetricResult]:
    metrics: list[Metric] = [BY_NAME[name] for name in names]
    results = compare(aggregated(table, metrics), metrics, {}, plan or Plan(), n_days=7.0)
    return {result.name: result for result in results}


def column(table: pa.Table, name: str, variation: int) -> np.ndarray:
    chosen = table["variation"].to_numpy() == variation
    return np.asarray(table[name].to_numpy()[chosen], dtype=np.float64)


def test_a_mean_per_user_is_compared_by_welchs_test() -> None:
    table = users(500, lift=0.1, known=False)
    result = compared(table, "revenue")["revenue"]
    control, treatment = (column(table, "revenue", number) for number in (0, 1))
    difference = result.differences[1]
    assert difference is not None
    assert difference.relative is not None
    assert difference.p == pytest.approx(stats.ttest_ind(treatment, control, equal_var=False).pvalue)
    assert result.values[0].mean == pytest.approx(control.mean())
    assert difference.relative.mean == pytest.approx(treatment.mean() / control.mean() - 1)


def test_a_ratio_is_as_uncertain_as_users_drawn_again_say() -> None:
    table = users(2000, known=False)
    interval = compared(table, "ctr")["ctr"].values[0]
    clicked, searches = (column(table, name, 0) for name in ("clicked", "searches"))
    random = np.random.default_rng(1)
    drawn = random.integers(0, len(clicked), (2000, len(clicked)))
    spread = (clicked[drawn].sum(axis=1) / searches[drawn].sum(axis=1)).std()
    error = (interval.high - interval.low) / (2 * 1.96)
    assert error == pytest.approx(spread, rel=0.06)
    as_if_searches_were_independent = math.sqrt(interval.mean * (1 - interval.mean) / searches.sum())
    assert error > 1.2 * as_if_searches_were_independent


def test_what_is_known_of_users_narrows_the_interval_and_moves_nothing_else() -> None:
    table = users(4000, lift=0.1)
    known = compared(table, "ctr")["ctr"].differences[1]
    unknown = compared(users(4000, lift=0.1, known=False), "ctr")["ctr"].differences[1]
    assert known is not None and known.relative is not None and known.width_kept is not None
    assert unknown is not None and unknown.relative is not None
    assert known.width_kept < 0.9
    assert unknown.width_kept is None
    width_known, width_unknown = (one.high - one.low for one in (known.relative, unknown.relative))
    assert width_known / width_unknown == pytest.approx(known.width_kept, rel=0.05)
    assert unknown.relative.low < known.relative.mean < unknown.relative.high


def test_p_values_are_corrected_by_holm_over_all_metrics_and_variations() -> None:
    table = users(900, lift=0.08, n_variations=3)
    names = ("ctr", "cvr", "buyers", "revenue", "abandonment")
    found = [one for result in compared(table, *names).values() for one in result.differences.values()]
    ps = np.array([one.p for one in found if one is not None])
    adjusted = np.array([one.p_adjusted for one in found if one is not None])
    assert len(ps) == 10
    order = np.argsort(ps)
    by_hand = np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1)).clip(max=1)
    np.testing.assert_allclose(adjusted[order], by_hand)


def test_good_is_more_clicks_and_fewer_abandoned_sessions() -> None:
    plan = Plan(alpha=0.05)
    up, down = (compared(users(6000, lift=lift), "ctr", "abandonment", plan=plan) for lift in (0.3, -0.3))
    for results, kind in ((up, "better"), (down, "worse")):
        assert [result.differences[1].kind for result in results.values()] == [kind, kind]  # type: ignore[union-attr]


def test_a_metric_that_is_the_same_for_all_users_is_not_tested() -> None:
    result = compared(users(300), "zero_results")["zero_results"]
    assert result.values[0].mean == 0
    assert result.differences == {1: None}


def test_users_needed_follow_from_the_variance_and_the_effect() -> None:
    table = users(3000, known=False)
    plan = Plan(alpha=0.05, effect=0.04, power=0.9)
    difference = compared(table, "revenue", plan=plan)["revenue"].differences[1]
    assert difference is not None and difference.power is not None
    control = column(table, "revenue", 0)
    quantiles = stats.norm.ppf(1 - 0.05 / 2) + stats.norm.ppf(0.9)
    per_arm = 2 * (quantiles * control.std(ddof=1) / (0.04 * control.mean())) ** 2
    assert difference.power.users_needed == pytest.approx(2 * per_arm, rel=0.02)
    assert difference.power.days_needed == pytest.approx(7 * 2 * per_arm / 3000, rel=0.02)
    # What 3000 users show with this power would need 3000 users.
    detectable = difference.power.detectable
    again = compared(table, "revenue", plan=Plan(effect=detectable, power=0.9))["revenue"].differences[1]
    assert again is not None and again.power is not None
    assert again.power.users_needed == pytest.approx(3000, rel=0.02)
    assert again.power.power == pytest.approx(0.9, abs=0.005)
