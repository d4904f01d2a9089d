"""``radsearch experiment simulate``."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from experiments.errors import ExperimentError
from experiments.sample_ratio import read_weights
from experiments.simulation.known_shop import KnownShop
from experiments.simulation.shoppers import Days
from experiments.simulation.simulate import Arms, simulate
from training.data.splits import Split

ALL = "all"
A_MONDAY = datetime(2026, 1, 5)


def simulate_command(
    shop: Annotated[Path, typer.Option(help="Directory that 'radsearch shop' wrote.")],
    bundle: Annotated[
        list[str], typer.Option(metavar="NAME=DIR", help="Bundle to serve; repeat for an experiment.")
    ],
    out: Annotated[Path, typer.Option(help="Directory of the event log; other days may be there.")],
    users: Annotated[int, typer.Option(min=1, help="Shoppers; some will not come.")] = 500,
    days: Annotated[int, typer.Option(min=1, help="Days they come on.")] = 7,
    searches_per_day: Annotated[float, typer.Option(min=0.01, help="Of the mean shopper.")] = 1.0,
    start: Annotated[
        datetime,
        typer.Option(
            formats=["%Y-%m-%d"],
            show_default=f"{A_MONDAY:%Y-%m-%d}",
            help="The first day; the same shoppers make other searches on others.",
        ),
    ] = A_MONDAY,
    weights: Annotated[
        str | None, typer.Option(help="Of the bundles, such as 0.9,0.1; equal without it.")
    ] = None,
    interleave: Annotated[bool, typer.Option("--interleave", help="Show both bundles in one list.")] = False,
    effect: Annotated[
        float,
        typer.Option(
            min=-0.99, max=3.0, help="Who is shown another bundle than the first clicks more readily by this."
        ),
    ] = 0.0,
    queries: Annotated[
        str, typer.Option(help=f"That are searched for: {ALL}, {', '.join(get_args(Split))}.")
    ] = ALL,
    seed: Annotated[int, typer.Option(min=0, help="Of the shoppers and all they do.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Let shoppers whose wishes are known visit the real service, and keep its event log.

    The service runs as long as the visits take; then its log is moved to the days that were simulated.

    Example: radsearch experiment simulate --shop shop --bundle sft=a --bundle rad-dpo=b --out events
    """
    if queries not in (ALL, *get_args(Split)):
        raise ExperimentError(f"there are no --queries {queries}; choose {ALL}, {', '.join(get_args(Split))}")
    arms = Arms(tuple(bundle), read_weights(weights), interleave, effect)
    split: Any = None if queries == ALL else queries
    known = KnownShop.load(shop, split)
    when = Days(users, searches_per_day, start.date(), days, seed)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("searches", total=None)
        visited = simulate(
            known, arms, when, out, lambda done, total: progress.update(task, completed=done, total=total)
        )
    made = {
        "experiment": arms.key,
        "searches": sum(visited.searches.values()),
        "searches_by_variant": dict(sorted(visited.searches.items())),
        "clicks": visited.clicks,
        "carts": visited.carts,
        "purchases": visited.purchases,
        "degraded": visited.degraded,
        "arms": asdict(arms),
        "days": asdict(when),
    }
    if as_json:
        typer.echo(orjson.dumps(made))
    else:
        _print(made, out, Console(highlight=False))


def _print(made: dict[str, Any], out: Path, console: Console) -> None:
    answered = ", ".join(f"{count:,} by {name}" for name, count in made["searches_by_variant"].items())
    console.print(
        f"[bold]{made['searches']:,} searches[/bold]  {answered}\n"
        f"[bold]{made['clicks']:,} clicks[/bold]  {made['carts']:,} carts, {made['purchases']:,} purchases"
    )
    if made["degraded"]:
        console.print(f"{made['degraded']:,} answers were degraded: the machine was too slow for the traffic")
    console.print(f"event log in {out}")
