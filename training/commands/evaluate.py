"""``radsearch evaluate``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import orjson
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from reports.writing import write_whole
from training.checkpoint import load_decoder, load_ordering
from training.data.rejects import OnError, Rejects
from training.data.splits import Split
from training.dataset import Dataset
from training.evaluate import Evaluation
from training.evaluate import evaluate as evaluate_decoder
from training.evaluation_page import render
from training.judged import EvaluationError, judged_queries, queries_of_file

METRICS = "metrics.json"


def evaluate(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint directory; gets metrics.json.")],
    split: Annotated[Split, typer.Option(help="Which queries to judge by.")] = "test",
    judgments: Annotated[
        Path | None,
        typer.Option(help="Judge by this file instead, such as the playground's: query, item_id, grade."),
    ] = None,
    positive_from: Annotated[
        float, typer.Option(help="Grade from which an item of --judgments is relevant.")
    ] = 1.0,
    on_error: Annotated[OnError, typer.Option(help="What to do with a bad row of --judgments.")] = "fail",
    beam_width: Annotated[int, typer.Option(min=1, max=4096, help="SIDs to find per query.")] = 128,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Judge by a sample of this size.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a checkpoint on held-out queries, each metric with its 95% interval.

    The checkpoint's metrics.json is always of a split; what --judgments say goes to --out and --html alone.

    Example: radsearch evaluate --data data --checkpoint sft --split test --html evaluation.html
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset, rejects = Dataset.load(data), Rejects(on_error)
    decoder = load_decoder(checkpoint).to(device)
    ordering = load_ordering(checkpoint)
    if judgments is None:
        judged = judged_queries(dataset, split, max_queries, seed)
    else:
        judged, dataset = queries_of_file(judgments, dataset, positive_from, rejects, max_queries, seed)
    console = Console(stderr=True, highlight=False)
    if rejects.total:
        console.print(f"[yellow]bad rows left out: {rejects.total:,}[/yellow]")
        for sentence in rejects.shown:
            console.print(f"  {sentence}", markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def track(batches: list[list[str]]) -> Iterable[list[str]]:
            return progress.track(batches, description="Search")

        evaluation = evaluate_decoder(decoder, dataset, ordering, judged, beam_width, seed=seed, track=track)
    report = orjson.dumps(evaluation.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    kept = checkpoint / METRICS if judgments is None else None
    for target in filter(None, (kept, out)):
        write_whole(target, report.decode(), EvaluationError)
    if html is not None:
        made_with = {
            "data": data,
            "checkpoint": checkpoint,
            "judgments": judgments or "of the data",
            "positive from": dataset.positive_from,
            "seed": seed,
            "ordering": ordering.to_dict(),
            "seconds": f"{evaluation.seconds:.1f}",
        }
        write_whole(html, render(evaluation, made_with), EvaluationError)
    if as_json:
        typer.echo(report, nl=False)
    else:
        _print(evaluation, Console(highlight=False))


def _print(evaluation: Evaluation, console: Console) -> None:
    table = Table(box=None, header_style="dim")
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for name, interval in evaluation.metrics.items():
        table.add_row(name, f"{interval.mean:.4f}", f"[{interval.low:.4f}, {interval.high:.4f}]")
    console.print(table)
    console.print(
        f"{len(evaluation.queries):,} {evaluation.origin} queries, beam width {evaluation.beam_width}, "
        f"{evaluation.seconds:.1f} s"
    )
    if evaluation.n_without_relevant:
        console.print(f"{evaluation.n_without_relevant:,} queries have no relevant item and are left out")
