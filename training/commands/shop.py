"""``radsearch shop``."""

import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from training.shop.shop import ShopSettings, write_shop


def shop(
    out: Annotated[Path, typer.Option(help="Directory to write; an older shop there is replaced.")],
    items: Annotated[int, typer.Option(min=50, help="Items in the shop.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    noise: Annotated[
        float, typer.Option(help="0: users see everything and choose what is relevant; 1: mostly chance.")
    ] = 0.3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write a synthetic shop: items, sessions of its users, and the true relevance of its queries.

    Example: radsearch shop --items 5000 --seed 0 --out shop
    """
    started = time.perf_counter()
    summary = write_shop(out, ShopSettings(items, seed, noise))
    if as_json:
        typer.echo(orjson.dumps(summary))
    else:
        _print(summary, out, time.perf_counter() - started)


def _print(summary: dict[str, Any], out: Path, seconds: float) -> None:
    console = Console(highlight=False)
    queries, positives, negatives = summary["queries"], summary["positives"], summary["negatives"]
    console.print(
        f"[bold]{summary['items']:,} items[/bold]  {summary['departments']} departments, "
        f"{summary['categories']} categories, {summary['brands']} brands"
    )
    splits = ", ".join(f"{count:,} {split}" for split, count in queries.items())
    console.print(
        f"[bold]{sum(queries.values()):,} queries[/bold]  {splits}; {summary['judgments']:,} judgments"
    )
    console.print(
        f"[bold]{summary['sessions']:,} sessions[/bold]  "
        f"{positives['count']:,} positives ({positives['irrelevant_share']:.1%} irrelevant), "
        f"{negatives['count']:,} negatives ({negatives['relevant_share']:.1%} relevant, "
        f"{negatives['perfect_share']:.1%} perfect)"
    )
    console.print(f"→ {out}  [dim]{seconds:.1f} s[/dim]")
