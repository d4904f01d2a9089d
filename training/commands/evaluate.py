"""``radsearch evaluate``."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import orjson
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from training.checkpoint import load_decoder, load_ordering
from training.data.splits import Split
from training.dataset import Dataset
from training.evaluate import Evaluation, EvaluationError
from training.evaluate import evaluate as evaluate_decoder

METRICS = "metrics.json"


def evaluate(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint directory; gets metrics.json.")],
    split: Annotated[Split, typer.Option(help="Which queries to judge by.")] = "test",
    beam_width: Annotated[int, typer.Option(min=1, max=4096, help="SIDs to find per query.")] = 128,
    max_queries: Annotated[int | None, typer.Option(min=1, help="Judge by a sample of this size.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the report to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a checkpoint on held-out queries, each metric with its 95% interval.

    Example: radsearch evaluate --data data --checkpoint sft --split test
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = Dataset.load(data)
    decoder = load_decoder(checkpoint).to(device)
    ordering = load_ordering(checkpoint)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def track(batches: list[list[str]]) -> Iterable[list[str]]:
            return progress.track(batches, description="Search")

        evaluation = evaluate_decoder(
            decoder, dataset, ordering, split, beam_width, max_queries=max_queries, seed=seed, track=track
        )
    report = orjson.dumps(evaluation.to_dict(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for target in (checkpoint / METRICS, *([out] if out else [])):
        write_whole(target, report)
    if as_json:
        typer.echo(report, nl=False)
    else:
        _print(evaluation, Console(highlight=False))


def write_whole(target: Path, contents: bytes) -> None:
    """Write a file that appears complete or not at all.

    Raises:
        EvaluationError: if it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            made.write_bytes(contents)
            made.replace(target)
    except OSError as error:
        raise EvaluationError(
            f"{target} cannot be written ({error.strerror}); choose another place"
        ) from error


def _print(evaluation: Evaluation, console: Console) -> None:
    table = Table(box=None, header_style="dim")
    table.add_column("")
    table.add_column("mean", justify="right")
    table.add_column("95% interval", justify="right")
    for name, interval in evaluation.metrics.items():
        table.add_row(name, f"{interval.mean:.4f}", f"[{interval.low:.4f}, {interval.high:.4f}]")
    console.print(table)
    console.print(
        f"{evaluation.n_queries:,} {evaluation.split} queries, beam width {evaluation.beam_width}, "
        f"{evaluation.seconds:.1f} s"
    )
    if evaluation.n_without_relevant:
        console.print(f"{evaluation.n_without_relevant:,} queries have no relevant item and are left out")
