"""``radsearch loadtest``: make the load, show what was measured, give the verdict."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from loadtest.errors import LoadtestError
from loadtest.locust_process import run_closed_loop
from loadtest.open_runs import run_at_rate, run_capacity
from loadtest.pages import capacity_page, report_page
from loadtest.queries import load_queries
from loadtest.settings import DEFAULT_CAPACITY_SECONDS, DEFAULT_SECONDS, LoadtestSettings
from loadtest.slo import CAPACITY_SLO, Slo, load_slo
from loadtest.tables import print_capacity, print_report, print_trial
from reports.writing import write_whole

PROBE_TIMEOUT_S = 5.0


def loadtest(
    url: Annotated[str | None, typer.Argument(help="Scheme, host and port of the server.")] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Closed loop: shoppers at work at the same time.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Open loop: requests that arrive per second.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="How long to send requests (30); the most to look for the capacity (180)."
        ),
    ] = None,
    trial_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="The least that one trial for the capacity takes (5).")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="How users or rate change: constant, steps or spike.")
    ] = None,
    think: Annotated[
        str | None, typer.Option(help="Closed loop, pauses: none, hasty, browsing or mixed.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Queries, most frequent first: one per line, or JSONL with 'query'.")
    ] = None,
    zipf: Annotated[
        float | None, typer.Option(min=0, help="Exponent of the query frequencies; 0 asks all alike (1).")
    ] = None,
    synthetic: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of queries that are reworded (0.2).")
    ] = None,
    filters: Annotated[
        float | None, typer.Option(min=0, max=1, help="Chance that a query is repeated with a filter (0.2).")
    ] = None,
    batches: Annotated[
        float | None, typer.Option(min=0, max=1, help="Chance that a batch of 8 is sent instead (0.03).")
    ] = None,
    clicks: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Chance that the first item is clicked (0.1); 0 sends no events."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the shoppers' choices.")] = None,
    slo: Annotated[
        Path | None, typer.Option(help="TOML file with the limits that decide the exit code.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Send shoppers' traffic to a running server and judge it; without --users or --rate, find its capacity.

    The capacity is the largest arrival rate at which the SLO is kept; without --slo that is a p99 of searches
    of 200 ms and at most 1% errors. With --rate requests arrive whether the server keeps up or not, and
    latencies count from when a request was due. With --users each shopper waits for an answer before it goes
    on. The exit code is 1 when the SLO is missed, or kept at no rate. RADSEARCH_LOADTEST_URL and so on set
    the same in the environment; RADSEARCH_LOADTEST_KEY is the bearer key of a guarded server.

    Example: radsearch loadtest http://127.0.0.1:8000 --queries queries.txt --html capacity.html
    """
    flags = {name: value for name, value in locals().items() if name not in ("html", "as_json")}
    try:
        settings = _settings({name: value for name, value in flags.items() if value is not None})
        limits = load_slo(settings.slo) if settings.slo else None
        _find_server(settings.url)
        if settings.users is None and settings.rate is None:
            result = _capacity(settings, limits or CAPACITY_SLO)
        else:
            result = _load(settings, limits or Slo())
        if html is not None:
            write_whole(html, result.page(), LoadtestError)
    except LoadtestError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error
    if as_json:
        sys.stdout.write(json.dumps(result.document) + "\n")
    else:
        result.print()
    if not result.met:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Result:
    """What a load test gave, for every reader.

    Attributes:
        met: whether the SLO is met.
        document: the whole, as it is written in JSON.
        print: shows it on the terminal.
        page: makes its HTML.
    """

    met: bool
    document: dict[str, object]
    print: Callable[[], None]
    page: Callable[[], str]


def _load(settings: LoadtestSettings, slo: Slo) -> Result:
    seconds = settings.seconds or DEFAULT_SECONDS
    if settings.rate is None:
        report = run_closed_loop(settings, seconds)
    else:
        report = uvloop.run(run_at_rate(settings, slo, settings.rate, seconds))
    return Result(
        report.met,
        report.model_dump(mode="json"),
        partial(print_report, report),
        partial(report_page, report, _shown(settings)),
    )


def _capacity(settings: LoadtestSettings, slo: Slo) -> Result:
    budget_s = settings.seconds or DEFAULT_CAPACITY_SECONDS
    run = uvloop.run(run_capacity(settings, slo, budget_s, print_trial))
    return Result(
        run.met,
        {"url": settings.url} | run.document(),
        partial(print_capacity, run, settings.url),
        partial(capacity_page, run, settings.url, _shown(settings)),
    )


def _settings(flags: dict[str, object]) -> LoadtestSettings:
    try:
        settings = LoadtestSettings.model_validate(LoadtestSettings().model_dump() | flags)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = ".".join(map(str, wrong["loc"])) or "settings"
        raise LoadtestError(f"{name} = {wrong['input']!r}: {wrong['msg']}.") from error
    if settings.users is not None and settings.rate is not None:
        raise LoadtestError("--users makes a closed loop and --rate an open one; pass one of them.")
    if settings.queries is not None:
        load_queries(settings.queries)
    return settings


def _shown(settings: LoadtestSettings) -> dict[str, object]:
    """What a reader needs to make the test again; no key."""
    return {name: value for name, value in settings if name != "key" and value is not None}


def _find_server(url: str) -> None:
    """Make sure that something answers HTTP there; what it answers is the load test's own business."""
    probe = f"{url.rstrip('/')}/readyz"
    try:
        urllib.request.urlopen(probe, timeout=PROBE_TIMEOUT_S).close()  # noqa: S310 - settings allow http(s) only
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise LoadtestError(
            f"nothing answers at {url} ({reason}); start it with 'radsearch serve' or correct the URL."
        ) from error
