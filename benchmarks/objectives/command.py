"""``radsearch bench objectives``."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.objectives.asking import asking
from benchmarks.objectives.plan import RAD_DPO, SFT
from benchmarks.objectives.pool import Pool
from benchmarks.objectives.report import render
from benchmarks.objectives.sessions import has_truth
from benchmarks.objectives.setup import description, setup_of, shared_settings
from benchmarks.objectives.store import Store
from benchmarks.objectives.study import PARTS, Part, Study
from benchmarks.objectives.tuning import TUNED_FOR
from benchmarks.objectives.workbench import Bench
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from reports.writing import write_whole
from sid import RadsearchError
from training.checkpoint import load_ordering
from training.dataset import Dataset
from training.distributed import joined_world
from training.objectives import OBJECTIVES
from training.settings import TrainSettings, read_settings


class StudyError(RadsearchError):
    """A benchmark that cannot be run as asked."""


def objectives(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    start: Annotated[Path, typer.Option("--from", help="SFT checkpoint that every training starts from.")],
    work: Annotated[Path, typer.Option(help="Directory of finished trainings; the same one goes on.")],
    steps: Annotated[int, typer.Option(min=1, help="Of every training.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per row.")] = 3,
    noise_seeds: Annotated[int, typer.Option(min=1, help="The same where noise is controlled.")] = 2,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Sessions per step.")] = None,
    max_queries: Annotated[int, typer.Option(min=1, help="Most queries of a split to judge by.")] = 1000,
    beam_width: Annotated[int, typer.Option(min=1, max=4096, help="SIDs to find per query.")] = 128,
    workers: Annotated[int, typer.Option(min=1, help="Trainings at once, one process each.")] = 2,
    parts: Annotated[
        str | None, typer.Option(help=f"Some of {','.join(PARTS)}; all that the data allows.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--objectives", help="Some of the objectives, with commas; all.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Train nothing; report what is there.")
    ] = False,
    as_json: AsJson = False,
    out: Out = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
) -> None:
    """Compare all objectives: one start, equal steps, tuned on valid, several seeds, judged on test.

    Learning rate and strength of each objective are tuned first. Then: every objective; RAD-DPO without each
    of its parts; shares of the sessions; and, where all relevant items are known, controlled noise. Other
    settings of training come from RADSEARCH_TRAIN_… in the environment. A benchmark that was stopped goes on
    when the command is given again.

    Example: radsearch bench objectives --data data --from sft --work work --report objectives.html
    """
    asked = read_settings(None, {} if batch_size is None else {"batch_size": batch_size})
    settings = TrainSettings(**asked.model_dump())  # of a class that other processes can import
    dataset = Dataset.load(data)
    study = Study(
        _objectives(only),
        _parts(parts, dataset),
        steps,
        tuple(range(seeds)),
        tuple(range(noise_seeds)),
    )
    bench = Bench(data, start, work / "unfinished", max_queries, beam_width, settings)
    with joined_world(device) as world:
        store = Store(work, setup_of(bench, world.device))
        pool = None if report_only else Pool(bench, world.device, workers)
        with asking(store, pool, Console(stderr=True, highlight=False)) as ask:
            figures = study.run(ask)
        held = description(dataset, max_queries)
        fields = {
            "data": held,
            "start": {"path": str(start), "ordering": load_ordering(start).to_dict()},
            "n_queries": held["judged"]["test"],
            "beam_width": beam_width,
            "settings": shared_settings(settings),
            "tuned_for": list(TUNED_FOR),
            **figures,
            "compute_seconds": round(ask.seconds, 1),
            "revisions": ask.revisions,
        }
        result = record("objectives", world.device, study.seeds, fields)
    if report is not None:
        write_whole(report, render(result), StudyError)
    deliver(result, out, as_json, _print)


def _objectives(only: str | None) -> tuple[str, ...]:
    """Those of the registry that are asked for; SFT and RAD-DPO always: all else is held against them."""
    asked = {SFT, RAD_DPO, *(_words(only) if only else OBJECTIVES)}
    unknown = sorted(asked - OBJECTIVES.keys())
    if unknown:
        raise StudyError(f"there is no objective {unknown[0]!r}; choose from {', '.join(OBJECTIVES)}")
    return tuple(name for name in OBJECTIVES if name in asked)


def _parts(asked: str | None, dataset: Dataset) -> tuple[Part, ...]:
    """The parts that are asked for, or all that the data allows."""
    if asked is None:
        return tuple(part for part in PARTS if part != "noise" or has_truth(dataset))
    unknown = [part for part in _words(asked) if part not in PARTS]
    if unknown:
        raise StudyError(f"there is no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    parts = tuple(part for part in PARTS if part in _words(asked))
    if "noise" in parts and not has_truth(dataset):
        raise StudyError(
            f"{dataset.path} names no relevant items beside those its sessions chose, so noise cannot be "
            "controlled; leave noise out of --parts, or use a shop made by 'radsearch shop'"
        )
    return parts


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def _print(result: dict[str, Any], console: Console) -> None:
    shown = [*TUNED_FOR, "hallucination"]
    table = Table(box=None, header_style="dim")
    table.add_column("", no_wrap=True)
    for metric in shown:
        table.add_column(metric.replace("_", " "), justify="right")
    for row, metrics in result["metrics"].items():
        cells = [
            f"{metrics[metric]['mean']:.4f}{_against_sft(result, row, metric)}" if metric in metrics else ""
            for metric in shown
        ]
        table.add_row(row, *cells)
    console.print(table)
    n_queries, n_seeds = result["n_queries"], len(result["seeds"])
    console.print(
        f"{n_queries:,} test queries, {n_seeds} seeds, {result['steps']:,} steps each; + and −: above and "
        "below continued SFT, 95% interval without 0"
    )
    for name, count in (("diverged", len(result["diverged"])), ("missing", result["missing"])):
        if count:
            console.print(f"[yellow]{count} trainings {name}[/yellow]")


def _against_sft(result: dict[str, Any], row: str, metric: str) -> str:
    found = result["differences"].get(row, {}).get(SFT, {}).get(metric)
    if found is None:
        return "  "
    return " +" if found["low"] > 0 else " −" if found["high"] < 0 else "  "
