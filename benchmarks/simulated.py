"""Many simulated experiments from recorded answers, judged by the statistics of ``experiment report``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from tea_tasting.aggr import Aggregates

from experiments.comparison import Difference, aggregated, compare
from experiments.exposed import CONTROL
from experiments.interleaving import LEVEL, preference
from experiments.metrics import METRICS, Metric
from experiments.power import Plan, power_of
from experiments.simulation.choices import choose
from experiments.simulation.drawn import Pair, draw_users
from experiments.simulation.known_shop import NO_ITEM, PAGE
from experiments.simulation.replay import preferences
from experiments.simulation.shoppers import Days, Shoppers, Traffic, click_through
from reports.intervals import Interval
from service.interleaving import team_draft

CTR = next(metric for metric in METRICS if metric.name == "ctr")
REPLAYED = tuple(metric for metric in METRICS if metric.name in ("ctr", "cvr", "buyers", "revenue"))
N_RESAMPLES = 300

Told = Callable[[int], None]  # how many runs are done


@dataclass(frozen=True)
class Share:
    """How many of some runs, with Wilson's 95% interval."""

    runs: int
    share: float
    low: float
    high: float

    @classmethod
    def of(cls, happened: list[bool]) -> "Share":
        """Count what happened in runs."""
        test = binomtest(sum(happened), len(happened))
        ends = test.proportion_ci(0.95, method="wilson")
        return cls(len(happened), float(test.statistic), float(ends.low), float(ends.high))


def lift(pair: Pair) -> float:
    """The true relative difference in click-through rate, in expectation over shoppers and searches."""
    control, treatment = (
        float(click_through(answers.grades, factor) @ pair.shop.frequency)
        for answers, factor in ((pair.control, 1.0), (pair.treatment, 1 + pair.effect))
    )
    return treatment / control - 1


def lift_over_queries(pair: Pair, seed: int) -> Interval:
    """The same, with a 95% interval of what other queries of such a shop would have given (bootstrap)."""
    control, treatment = (
        click_through(answers.grades) * pair.shop.frequency for answers in (pair.control, pair.treatment)
    )
    drawn = np.random.default_rng(seed).integers(0, len(control), (N_RESAMPLES, len(control)))
    low, high = np.quantile(treatment[drawn].sum(axis=1) / control[drawn].sum(axis=1) - 1, [0.025, 0.975])
    return Interval(lift(pair), float(low), float(high))


def false_alarms(pair: Pair, days: Days, runs: int, told: Told) -> tuple[Share, Share]:
    """Draw experiments that differ in nothing; tell how many say so in click-through rate, and in anything.

    A past tells shoppers apart, as in a report (CUPED). Of several metrics p-values are corrected.
    """
    in_ctr, in_any = [], []
    for run in range(runs):
        table = draw_users(pair, replace(days, seed=days.seed + run), with_past=True)
        found = _differences(table, REPLAYED, Plan(), days)
        in_ctr.append(found[0].p < LEVEL)
        in_any.append(any(difference.kind != "same" for difference in found))
        told(run + 1)
    return Share.of(in_ctr), Share.of(in_any)


def detection(pair: Pair, days: Days, runs: int, told: Told) -> tuple[Share, float]:
    """Draw experiments with an effect; tell how many find it, and the power the report computes for it."""
    truth = lift(pair)
    plan = Plan(effect=abs(truth))
    detected, powers = [], []
    for run in range(runs):
        table = draw_users(pair, replace(days, seed=days.seed + run), with_past=False)
        (found,) = _differences(table, (CTR,), plan, days)
        assert found.relative is not None and found.power is not None
        detected.append(found.p < LEVEL and (found.relative.mean > 0) == (truth > 0))
        powers.append(found.power.power)
        told(run + 1)
    return Share.of(detected), float(np.mean(powers))


def interleaved_detection(pair: Pair, days: Days, runs: int, told: Told) -> Share:
    """Draw interleaved experiments; tell how many prefer the variant that is truly better."""
    is_better, detected = lift(pair) > 0, []
    for run in range(runs):
        won = interleaved(pair, replace(days, seed=days.seed + run))
        share, p = preference(*_wins(won))
        detected.append(share is not None and p < LEVEL and (share.mean > 0.5) == is_better)
        told(run + 1)
    return Share.of(detected)


def interleaved(pair: Pair, days: Days) -> NDArray[np.int8]:
    """Draw one interleaved experiment: whom each shopper prefers, as ``replay.preferences`` says it."""
    traffic = Shoppers.draw(days).traffic(pair.shop.frequency, days.first)
    pages, teams = _drafted(pair, traffic)
    queries = traffic.query.tolist()
    grades = [pair.shop.grades(query, page) for query, page in zip(queries, pages, strict=True)]
    clicked = choose(np.stack(grades), traffic.eagerness, traffic.coins).clicked
    return preferences(traffic, clicked, teams, days.shoppers)


@dataclass(frozen=True)
class Sensitivity:
    """How many searches tell two variants apart, with the plan's power.

    Attributes:
        lift: in click-through rate, true.
        searches: by method, "ab" or "interleaved".
        shoppers: likewise; each searches as often as those that were drawn.
        saving: searches of the A/B for each that is interleaved, with its 95% interval (bootstrap over
            shoppers).
    """

    lift: float
    searches: dict[str, int]
    shoppers: dict[str, int]
    saving: Interval


def sensitivity(pair: Pair, days: Days, plan: Plan) -> Sensitivity:
    """Work out from one population, shown one list or two, how many shoppers each method needs.

    The A/B's need follows from its true lift and the variance of shoppers, as in the report. The sign test of
    interleaving has a z-value that grows with the root of the number of shoppers.

    Args:
        pair: what is compared.
        days: a large population.
        plan: level and power.
    """
    truth, everyone = lift(pair), replace(pair, treatment=pair.control)
    table = draw_users(everyone, days, with_past=False)
    won = interleaved(pair, days)
    plan = replace(plan, effect=abs(truth))
    random = np.random.default_rng(days.seed)

    def needs(table: pa.Table, won: NDArray[np.int8]) -> NDArray[np.float64]:
        """Shoppers by method, those who do not come included."""
        came = table.num_rows / days.shoppers
        return np.array([_ab_users(table, plan) / came, _interleaved_shoppers(won, plan)])

    ab, interleaving = needs(table, won)
    savings = []
    for _ in range(N_RESAMPLES):
        again = random.integers(0, table.num_rows, table.num_rows)
        drawn_ab, drawn_interleaving = needs(table.take(again), won[random.integers(0, len(won), len(won))])
        savings.append(drawn_ab / drawn_interleaving)
    low, high = np.quantile(savings, [0.025, 0.975])
    each = days.searches_per_day * days.n_days
    shoppers = {"ab": round(ab), "interleaved": round(interleaving)}
    return Sensitivity(
        truth,
        {method: round(count * each) for method, count in shoppers.items()},
        shoppers,
        Interval(float(ab / interleaving), float(low), float(high)),
    )


def preferred(won: NDArray[np.int8]) -> dict[str, Any]:
    """Share of those who prefer the second variant among all who prefer one, and the p-value."""
    share, p = preference(*_wins(won))
    return {"share": asdict(share) if share is not None else None, "p": p, "shoppers": sum(_wins(won))}


def _differences(table: pa.Table, metrics: tuple[Metric, ...], plan: Plan, days: Days) -> list[Difference]:
    results = compare(aggregated(table, metrics), metrics, {}, plan, days.n_days)
    differences = [result.differences[1] for result in results]
    return [difference for difference in differences if difference is not None]


def _ab_users(table: pa.Table, plan: Plan) -> int:
    control: Aggregates = aggregated(table.set_column(0, "variation", _zeros(table)), [CTR])[CONTROL]
    power = power_of(CTR, control, control.count(), plan, 1.0, covaried=False)
    assert power is not None
    return power.users_needed


def _zeros(table: pa.Table) -> pa.Array:
    return pa.array(np.zeros(table.num_rows, np.int64))


def _interleaved_shoppers(won: NDArray[np.int8], plan: Plan) -> float:
    first, second = _wins(won)
    if first == second:
        return np.inf
    z = (second - first) / np.sqrt(first + second)
    wanted = norm.ppf(1 - plan.alpha / 2) + norm.ppf(plan.power)
    return float(len(won) * (wanted / z) ** 2)


def _wins(won: NDArray[np.int8]) -> tuple[int, int]:
    return int((won < 0).sum()), int((won > 0).sum())


def _drafted(pair: Pair, traffic: Traffic) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Pages and their teams, drafted as the service drafts them: int32 and int8 [n_searches, PAGE]."""
    rankings = [
        [[row for row in page if row != NO_ITEM] for page in answers.pages.tolist()]
        for answers in (pair.control, pair.treatment)
    ]
    pages = np.full((len(traffic), PAGE), NO_ITEM, np.int32)
    teams = np.full((len(traffic), PAGE), -1, np.int8)
    searches = zip(traffic.shopper.tolist(), traffic.query.tolist(), strict=True)
    for number, (shopper, query) in enumerate(searches):
        first, second = (ranking[query] for ranking in rankings)
        draft = team_draft(first, second, PAGE, f"{shopper}/{query}")
        pages[number, : len(draft.item_ids)] = draft.item_ids
        teams[number, : len(draft.teams)] = [-1 if team is None else team for team in draft.teams]
    return pages, teams
