"""``radsearch bench bm25``: baselines judged by the same queries and metrics as ``radsearch evaluate``."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.baselines import Rankings, rank_by_bm25, rank_by_cosine
from benchmarks.output import AsJson, deliver
from training.data.errors import DataError
from training.data.items import item_texts
from training.data.splits import Split
from training.dataset import Dataset
from training.metrics import Interval, item_metrics, relevant_items
from training.sids.build import read_items
from training.sids.embedders import load_embedder

DEPTH = 100  # the deepest metric is Item Recall@100


@dataclass(frozen=True)
class Baseline:
    """One way to retrieve, measured.

    Attributes:
        metrics: by name.
        seconds: to prepare it and rank all queries.
    """

    metrics: dict[str, Interval]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Baselines on the queries of one split.

    Attributes:
        split: whose queries.
        n_queries: queries with a relevant item.
        baselines: by name.
    """

    split: str
    n_queries: int
    baselines: dict[str, Baseline]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)


def compare(data: Path, split: Split) -> Comparison:
    """Measure BM25, and the cosine of the embeddings that SIDs were made from, where these know texts.

    Raises:
        DataError: if the data directory cannot be used or the split has no query with a relevant item.
    """
    dataset = Dataset.load(data)
    relevance = dataset.relevance(split)
    queries = list(relevant_items(relevance, dataset.positive_from))
    if not queries:
        raise DataError(f"{data} has no {split} query with a relevant item; choose another --split")
    texts = item_texts(read_items(data / "items.parquet"))
    embedder = load_embedder(data / "embedder")

    def measure(rank: Callable[[], Rankings]) -> Baseline:
        started = time.perf_counter()
        ranked = rank()
        seconds = round(time.perf_counter() - started, 3)
        return Baseline(item_metrics(ranked, relevance, dataset.positive_from), seconds)

    baselines = {"BM25": measure(lambda: rank_by_bm25(texts, queries, DEPTH))}
    if embedder is not None:
        embed = embedder.embed
        baselines["embedding"] = measure(
            lambda: rank_by_cosine(dataset.item_embeddings, embed(queries), queries, DEPTH)
        )
    return Comparison(split, len(queries), baselines)


def bm25(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    split: Annotated[Split, typer.Option(help="Which queries to judge by.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Measure baselines with the queries and metrics of 'radsearch evaluate'.

    BM25 ranks by the words of titles and text attributes, the embedding by the cosine of what SIDs were
    made from.

    Example: radsearch bench bm25 --data data --split test
    """
    comparison = compare(data, split)
    result = {"benchmark": "bm25", **comparison.to_dict()}
    deliver(result, None, as_json, lambda _, console: _print(comparison, console))


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
