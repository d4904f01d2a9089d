"""``radsearch sessions``."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from training.events.sessions import By, SessionSettings, write_sessions

N_POSITIONS = 10  # whose examination the summary names; all of them are in the JSON


def sessions(
    from_events: Annotated[Path, typer.Option(help="Directory of the event log of 'radsearch serve'.")],
    items: Annotated[Path, typer.Option(help="Catalogue, as for 'radsearch prepare'; others are left out.")],
    out: Annotated[Path, typer.Option(help="Sessions file to write, FILE.jsonl.")],
    by: Annotated[By, typer.Option(help="One session for each query, or for each visit.")] = "query",
    min_visits: Annotated[int, typer.Option(min=1, help="Leave out queries with fewer visits.")] = 1,
    min_examined: Annotated[
        float, typer.Option(min=0.01, help="Expected looks that make an item never chosen a negative.")
    ] = 1.0,
    max_negatives: Annotated[int, typer.Option(min=1, help="Negatives of a session at most.")] = 20,
    reload_minutes: Annotated[
        int, typer.Option(min=0, help="The same query this soon again is the same visit.")
    ] = 10,
    max_searches_per_day: Annotated[
        int, typer.Option(min=1, help="Shoppers with more are robots, that day.")
    ] = 300,
    valid_share: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Queries first seen in the last share of visits are valid; 0: by hash."
        ),
    ] = 0.1,
    memory_gb: Annotated[
        float | None, typer.Option(min=0.1, help="Memory for it; a larger log goes through the disk.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn an event log into sessions that 'radsearch prepare' reads.

    What was chosen becomes positives, what was looked at and passed over becomes negatives. How likely each
    position is looked at is estimated from the log itself.

    Example: radsearch sessions --from-events events --items items.jsonl --out sessions.jsonl
    """
    settings = SessionSettings(
        by=by,
        min_visits=min_visits,
        min_examined=min_examined,
        max_negatives=max_negatives,
        reload_minutes=reload_minutes,
        max_searches_per_day=max_searches_per_day,
        valid_share=valid_share,
        memory_gb=memory_gb,
    )
    console = Console(stderr=True)
    with console.status("reading the event log"):
        report = write_sessions(from_events, items, out, settings)
    if as_json:
        typer.echo(orjson.dumps(report))
    else:
        _print(report, out, Console(highlight=False))


def _print(report: dict[str, Any], out: Path, console: Console) -> None:
    log, visits = report["log"], report["visits"]
    console.print(
        f"[bold]{log['searches']:,} searches[/bold]  {log['events']:,} events, "
        f"{log['events_of_no_search']:,} of no search; {log['unreadable']:,} lines cannot be read"
    )
    console.print(
        f"[bold]{visits['visits']:,} visits[/bold]  {visits['reloads']:,} reloads, "
        f"{visits['of_robots']:,} searches of robots; "
        f"{visits['chosen']:,} of {visits['impressions']:,} items shown were chosen"
    )
    shares = " ".join(f"{share:.2f}" for share in report["examination"][:N_POSITIONS])
    console.print(f"[bold]examination[/bold]  {shares}")
    console.print(
        f"[bold]{report['sessions']:,} sessions[/bold]  {report['positives']:,} positives, "
        f"{report['negatives']:,} negatives; {report['valid']:,} valid, "
        f"{report['without_negatives']:,} without negatives"
    )
    console.print(f"→ {out}", markup=False)
