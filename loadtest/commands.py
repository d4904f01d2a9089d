"""``radsearch loadtest``: start the load, wait for it, show what was measured, give the verdict."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from loadtest.errors import LoadtestError
from loadtest.queries import load_queries
from loadtest.recorder import Report
from loadtest.settings import LoadtestSettings
from loadtest.slo import Slo, judge, load_slo
from loadtest.tables import print_report

PROBE_TIMEOUT_S = 5.0


def loadtest(
    url: Annotated[str | None, typer.Option(help="Scheme, host and port of the server.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long to send requests.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Shoppers at work at the same time.")] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Queries, most frequent first: one per line, or JSONL with 'query'.")
    ] = None,
    zipf: Annotated[
        float | None, typer.Option(min=0, help="Exponent of the query frequencies; 0 asks all alike.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the users' choices.")] = None,
    slo: Annotated[
        Path | None,
        typer.Option(help="TOML with p50_ms, p95_ms, p99_ms, error_share, min_rate; decides the exit code."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Send shoppers' traffic to a running server and judge its latencies.

    Shoppers search, filter, send batches and click, with no pause between requests. Latencies are of
    answered requests; an answer without items counts as an error. The exit code is 1 when the SLO is missed;
    without --slo at most 1% of the requests may fail. RADSEARCH_LOADTEST_URL and so on set the same in the
    environment; RADSEARCH_LOADTEST_KEY is the bearer key of a guarded server.

    Example: radsearch loadtest --url http://127.0.0.1:8000 --seconds 30 --users 8
    """
    flags = {"url": url, "seconds": seconds, "users": users, "queries": queries, "zipf": zipf, "seed": seed}
    try:
        limits = load_slo(slo) if slo else Slo()
        settings = _settings({name: value for name, value in flags.items() if value is not None})
        report = _measure(settings)
    except LoadtestError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error
    judgements = judge(limits, report)
    met = all(judgement.met for judgement in judgements)
    if as_json:
        slo_report = {"met": met, "judgements": [asdict(judgement) for judgement in judgements]}
        sys.stdout.write(json.dumps(report.model_dump() | {"slo": slo_report}) + "\n")
    else:
        print_report(report, judgements)
    if not met:
        raise typer.Exit(1)


def _settings(flags: dict[str, object]) -> LoadtestSettings:
    try:
        settings = LoadtestSettings.model_validate(LoadtestSettings().model_dump() | flags)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise LoadtestError(f"{wrong['loc'][0]} = {wrong['input']!r}: {wrong['msg']}.") from error
    if settings.queries is not None:
        load_queries(settings.queries)
    return settings


def _measure(settings: LoadtestSettings) -> Report:
    if importlib.util.find_spec("locust") is None:
        raise LoadtestError("locust is not installed; install it with: pip install 'radsearch[loadtest]'")
    _find_server(settings.url)
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtest.run"],
        env=os.environ | settings.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            output, log = _wait(child, settings.seconds)
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        raise LoadtestError(f"the load generator stopped with exit code {child.returncode}:\n{log.strip()}")
    sys.stderr.write(log)
    return Report.model_validate_json(output)


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
            f"nothing answers at {url} ({reason}); start it with 'radsearch serve' or correct --url."
        ) from error


def _wait(child: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Wait for the load generator, with a progress bar where someone watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("sending requests", total=seconds)
        start = time.monotonic()
        while True:
            try:
                return child.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                progress.update(bar, completed=min(time.monotonic() - start, seconds))
