"""``radsearch bench``."""

from pathlib import Path
from typing import Annotated, Literal

import orjson
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.bm25 import Comparison, compare
from training.data.splits import Split

Benchmark = Literal["bm25"]


def bench(
    benchmark: Annotated[
        Benchmark, typer.Argument(help="bm25: retrieval without training, to compare with.")
    ],
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    split: Annotated[Split, typer.Option(help="Which queries to judge by.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure baselines with the queries and metrics of 'radsearch evaluate'.

    BM25 ranks by the words of titles and text attributes, the embedding by the cosine of what SIDs were
    made from.

    Example: radsearch bench bm25 --data data --split test
    """
    comparison = compare(data, split)
    if as_json:
        typer.echo(orjson.dumps({"benchmark": benchmark, **comparison.to_dict()}))
    else:
        _print(comparison, Console(highlight=False))


def _print(comparison: Comparison, console: Console) -> None:
    table = Table(box=None, header_style="dim")
    table.add_column("")
    for name in comparison.baselines:
        table.add_column(name, justify="right")
    measured = [baseline.metrics for baseline in comparison.baselines.values()]
    for metric in measured[0]:
        intervals = [metrics[metric] for metrics in measured]
        table.add_row(metric, *(f"{i.mean:.4f} [{i.low:.4f}, {i.high:.4f}]" for i in intervals))
    table.add_row("seconds", *(f"{baseline.seconds:.1f}" for baseline in comparison.baselines.values()))
    console.print(table)
    console.print(f"{comparison.n_queries:,} {comparison.split} queries with a relevant item")
