"""``radsearch bench experiments``: whether experiments find what is true, and how much traffic they need."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from benchmarks.simulated import (
    detection,
    false_alarms,
    interleaved,
    interleaved_detection,
    lift,
    lift_over_queries,
    preferred,
    sensitivity,
)
from experiments.event_log import EventLog
from experiments.exposed import Period
from experiments.interleaving import LEVEL
from experiments.power import Plan
from experiments.report import make_report
from experiments.simulation import recording
from experiments.simulation.drawn import Pair
from experiments.simulation.known_shop import KnownShop
from experiments.simulation.shoppers import Days
from experiments.simulation.simulate import Arms, simulate

SEED = 0
WEEK = Days(shoppers=2_000, searches_per_day=1.0, first=date(2026, 1, 12), n_days=7, seed=SEED)
EFFECT = 0.1  # that treated shoppers click more readily by, in the A/B whose effect is known
AB_SHOPPERS = 4_000
AA_TOLERANCE = 0.03  # around the level: two and a half standard deviations of 300 runs
AB_TOLERANCE = 0.07  # around the power: three standard deviations of 300 runs at 80%
WORSE: dict[str, dict[str, float]] = {
    "without words": {"embedding": 0.0, "words": 0.0, "trigrams": 0.0},
    "unordered": {"embedding": 0.0, "words": 0.0, "trigrams": 0.0, "tau": 0.0},
}
"""Weights of an answer's order that are taken away, for variants that are worse by a little and by a lot."""

CHECKED = "unordered"  # of these, the one whose needs are held against experiments of that size


@dataclass(frozen=True)
class Size:
    """How much is simulated.

    Attributes:
        aa_runs, ab_runs: experiments without and with an effect.
        population: shoppers that sensitivity is worked out from.
        http_shoppers: who visit the real service.
    """

    aa_runs: int = 300
    ab_runs: int = 300
    population: int = 40_000
    http_shoppers: int = 1_000


QUICK = Size(aa_runs=200, ab_runs=100, population=10_000, http_shoppers=150)


def experiments(
    demo: Annotated[Path, typer.Option(help="Directory that 'radsearch demo' made.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and smaller experiments.")] = False,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Simulate experiments whose truth is known, and hold what they find against it.

    Every query of the demo's test split is asked of the real service once per variant; experiments by the
    hundred are drawn from these answers, and one is run over HTTP from beginning to end.

    Example: radsearch bench experiments --demo .demo --out experiments.json
    """
    size = QUICK if quick else Size()
    shop = KnownShop.load(demo / "shop", "test")
    bundles = tuple(f"{name}={demo / 'bundles' / name}" for name in ("sft", "rad-dpo"))
    with _progress() as stage:
        stage("asking every query of every variant")
        variants = {name: {"variant": "sft", "ordering": weights} for name, weights in WORSE.items()}
        answers = recording.record(shop, bundles, {"sft": "sft", "rad-dpo": "rad-dpo", **variants})
        same = Pair(shop, answers["sft"], answers["sft"])
        pairs = {name: replace(same, treatment=answers[name]) for name in WORSE}
        fields = {
            "quick": quick,
            "queries": len(shop.queries),
            **_alike(same, size, stage),
            **_known_effect(replace(same, effect=EFFECT), size, stage),
            **_sensitivities(pairs, size, stage),
            "lift": _showcase(replace(same, treatment=answers["rad-dpo"]), bundles, size, stage),
        }
    made = record("experiments", torch.device("cpu"), [SEED], fields, ("onnxruntime", "tea-tasting"))
    deliver(made, out, as_json, _print)


Stage = Callable[..., Callable[[int], None]]
"""Begins a stage of so many steps; what it gives is told how many are done."""


@contextmanager
def _progress() -> Iterator[Stage]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:

        def stage(title: str, total: int | None = None) -> Callable[[int], None]:
            task = progress.add_task(title, total=total)
            return lambda done: progress.update(task, completed=done)

        yield stage


def _alike(same: Pair, size: Size, stage: Stage) -> dict[str, Any]:
    in_ctr, in_any = false_alarms(same, WEEK, size.aa_runs, stage("A/A", size.aa_runs))
    return {
        "aa_false_positive_share": in_ctr.share,
        "aa": {
            "shoppers": WEEK.shoppers,
            "level": LEVEL,
            "tolerance": AA_TOLERANCE,
            "ctr": asdict(in_ctr),
            "any_metric": asdict(in_any),
        },
    }


def _known_effect(pair: Pair, size: Size, stage: Stage) -> dict[str, Any]:
    days = replace(WEEK, shoppers=AB_SHOPPERS)
    detected, power = detection(pair, days, size.ab_runs, stage("A/B of a known effect", size.ab_runs))
    return {
        "ab_power_computed": power,
        "ab_detected_share": detected.share,
        "ab": {
            "shoppers": AB_SHOPPERS,
            "true_lift": lift(pair),
            "detected": asdict(detected),
            "tolerance": AB_TOLERANCE,
        },
    }


def _sensitivities(pairs: dict[str, Pair], size: Size, stage: Stage) -> dict[str, Any]:
    plan, large = Plan(), replace(WEEK, shoppers=size.population)
    found = {}
    for name, pair in pairs.items():
        stage(f"how much traffic shows: {name}")
        found[name] = sensitivity(pair, large, plan)
    checked = {
        method: replace(WEEK, shoppers=shoppers) for method, shoppers in found[CHECKED].shoppers.items()
    }
    ab, _ = detection(pairs[CHECKED], checked["ab"], size.ab_runs, stage("A/B of that size", size.ab_runs))
    interleaving = interleaved_detection(
        pairs[CHECKED], checked["interleaved"], size.ab_runs, stage("interleaved, of that size", size.ab_runs)
    )
    return {
        "interleaving_saving": {name: asdict(one.saving) for name, one in found.items()},
        "sensitivity": {
            "power": plan.power,
            "population": size.population,
            "pairs": {name: asdict(one) for name, one in found.items()},
            "detected": {"pair": CHECKED, "ab": asdict(ab), "interleaved": asdict(interleaving)},
        },
    }


def _showcase(pair: Pair, bundles: tuple[str, ...], size: Size, stage: Stage) -> dict[str, Any]:
    """RAD-DPO against SFT: over HTTP, as the report sees it, and what is true of the queries."""
    days = replace(WEEK, shoppers=size.http_shoppers)
    told = stage("RAD-DPO against SFT over HTTP")
    with tempfile.TemporaryDirectory(prefix="radsearch-bench-") as scratch:
        log = Path(scratch) / "events"
        visited = simulate(pair.shop, Arms(bundles), days, log, lambda done, total: told(done))
        report = make_report(EventLog(log), None, Period(), Plan())
    assert report.split is not None
    measured = {
        metric.name: asdict(difference.relative)
        for metric in report.split.metrics
        if (difference := metric.differences[1]) is not None and difference.relative is not None
    }
    stage("RAD-DPO with SFT, interleaved")
    return {
        "shoppers": size.http_shoppers,
        "searches": sum(visited.searches.values()),
        "measured": measured,
        "verdict": report.verdict.words,
        "expected_ctr": asdict(lift_over_queries(pair, SEED)),
        "interleaved": preferred(interleaved(pair, replace(WEEK, shoppers=size.population))),
    }


def _print(made: dict[str, Any], console: Console) -> None:
    aa, ab, needs, shown = made["aa"], made["ab"], made["sensitivity"], made["lift"]
    console.print(f"A/A: {_share(aa['ctr'])} find a difference in click-through rate that is not there")
    console.print(
        f"A/B of {ab['true_lift']:+.1%} in click-through rate: {_share(ab['detected'])} find it; "
        f"the computed power is {made['ab_power_computed']:.1%}"
    )
    for name, one in needs["pairs"].items():
        searches, saving = one["searches"], one["saving"]
        console.print(
            f"{name} ({one['lift']:+.1%}): {searches['ab']:,} searches in an A/B, "
            f"{searches['interleaved']:,} interleaved, "
            f"{saving['mean']:.1f} [{saving['low']:.1f}, {saving['high']:.1f}] times fewer"
        )
    found = needs["detected"]
    console.print(
        f"{found['pair']}, found with so many: A/B by {_share(found['ab'])}, "
        f"interleaved by {_share(found['interleaved'])}"
    )
    console.print(
        f"RAD-DPO against SFT: {_lift(shown['measured']['ctr'])} in click-through rate over "
        f"{shown['searches']:,} searches; expected {_lift(shown['expected_ctr'])} over queries"
    )


def _share(share: dict[str, Any]) -> str:
    return f"{share['share']:.1%} [{share['low']:.1%}, {share['high']:.1%}] of {share['runs']} runs"


def _lift(interval: dict[str, float]) -> str:
    return f"{interval['mean']:+.2%} [{interval['low']:+.2%}, {interval['high']:+.2%}]"
