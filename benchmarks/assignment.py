"""``radsearch bench assignment``: what it costs a search to be assigned."""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from service.experiments import Caller, Experiments
from service.features import FeaturesFile
from service.metrics import Metrics
from service.traffic import Traffic

TRAFFIC = Traffic(("sft", "rad-dpo"), {})
ATTRIBUTES = {"country": "DE", "device": "phone", "logged_in": True}


def _experiment(key: str, *variations: object, **fields: object) -> dict[str, Any]:
    return {"key": key, "seed": key, "hashVersion": 2, "variations": list(variations), **fields}


AB = _experiment("ab", "sft", "rad-dpo")
ABROAD = {"condition": {"country": {"$in": ["FR", "IT"]}}, "force": "sft"}
LAYERS = {
    "beam_width": _experiment("widths", 32, 64),
    "ordering": _experiment("taus", {"tau": 0.5}, {"tau": 1.0}),
    "max_per_sid": _experiment("caps", 3, 5),
}
CASES: dict[str, dict[str, list[dict[str, Any]]]] = {
    "no features": {},
    "one experiment": {"variant": [AB]},
    "a rule before it": {"variant": [ABROAD, AB]},
    "ten experiments in a namespace": {
        "variant": [
            _experiment(
                f"ab{n}",
                "sft",
                "rad-dpo",
                filters=[{"seed": "models", "ranges": [[n / 10, (n + 1) / 10]]}],
            )
            for n in range(10)
        ]
    },
    "holdout and four layers": {
        "holdout": [_experiment("holdout", True, False, weights=[0.05, 0.95])],
        "variant": [ABROAD, AB],
        **{name: [rule] for name, rule in LAYERS.items()},
    },
}


def assignment(
    callers: Annotated[int, typer.Option(min=100, help="Callers to assign in each case.")] = 50_000,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Assign callers one by one, by features of growing size, and time each.

    Example: radsearch bench assignment --callers 50000
    """
    cases = {name: asyncio.run(measure(rules, callers)) for name, rules in CASES.items()}
    fields = {"callers": callers, "microseconds": cases}
    made = record("assignment", torch.device("cpu"), [], fields, ("growthbook",))
    deliver(made, out, as_json, _print)


async def measure(rules: dict[str, list[dict[str, Any]]], n_callers: int) -> dict[str, float]:
    """Microseconds of one assignment: its median and its tails."""
    with tempfile.TemporaryDirectory(prefix="radsearch-bench-") as directory:
        file = Path(directory) / "features.json"
        file.write_text(json.dumps({name: {"rules": each} for name, each in rules.items()}))
        source = FeaturesFile(file) if rules else None
        experiments = Experiments(source, None, lambda: TRAFFIC, Metrics())
        await experiments.start()
        await experiments.close()
    callers = [Caller(f"user-{n}", "browser", ATTRIBUTES) for n in range(n_callers)]
    seconds = np.empty(n_callers)
    for n, caller in enumerate(callers):
        started = time.perf_counter()
        await experiments.assign(caller)
        seconds[n] = time.perf_counter() - started
    p50, p95, p99 = (1e6 * np.quantile(seconds, [0.5, 0.95, 0.99])).round(1).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def _print(made: dict[str, Any], console: Console) -> None:
    table = Table(box=None, header_style="dim")
    for heading in ("µs of one assignment", "p50", "p95", "p99"):
        table.add_column(heading, justify="right" if heading.startswith("p") else "left")
    for case, figures in made["microseconds"].items():
        table.add_row(case, *(f"{figure:.1f}" for figure in figures.values()))
    console.print(table)
