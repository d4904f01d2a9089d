"""``radsearch experiment``: judge experiments by the event log, and simulate shoppers."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from experiments.errors import ExperimentError
from experiments.event_log import EventLog
from experiments.exposed import Period
from experiments.metrics import NAMES
from experiments.page import render
from experiments.power import Plan
from experiments.report import make_report
from experiments.sample_ratio import read_weights
from experiments.simulation.command import simulate_command
from experiments.terminal import print_report
from reports.writing import write_whole

NO_CONCLUSION = 3  # exit code

experiment = typer.Typer(no_args_is_help=True)
experiment.command("simulate")(simulate_command)

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@experiment.callback()
def _group() -> None:
    """Judge experiments by the event log, and try them on simulated shoppers.

    Example: radsearch experiment report --events events --html report.html
    """


@experiment.command("report")
def report_command(
    events: Annotated[Path, typer.Option(help="Directory of the event log.")],
    key: Annotated[
        str | None, typer.Option("--experiment", help="Its key; not needed where the log has one.")
    ] = None,
    start: Annotated[datetime | None, typer.Option(formats=TIMES, help="First moment, UTC.")] = None,
    end: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="Moment after the last, UTC."),
    ] = None,
    pre_period: Annotated[
        float,
        typer.Option(min=0, help="Days before the start that tell users apart (CUPED); 0 does without."),
    ] = 14.0,
    weights: Annotated[
        str | None, typer.Option(help="Of the variations, such as 0.9,0.1; equal without it.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help=f"Metric to test, may be repeated; all without it: {', '.join(NAMES)}."),
    ] = None,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="False alarms over all metrics.")] = 0.05,
    effect: Annotated[
        float, typer.Option(min=1e-4, help="Relative difference that matters, for power and duration.")
    ] = 0.05,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what an experiment found, and how sure that is.

    Exit code 3: no conclusion, because variations did not get their shares of the users.

    Example: radsearch experiment report --events events --html report.html
    """
    report = make_report(
        EventLog(events),
        key,
        Period(start, end, pre_period),
        Plan(alpha=alpha, effect=effect),
        read_weights(weights),
        metric or NAMES,
    )
    if html is not None:
        write_whole(html, render(report), ExperimentError)
    if as_json:
        typer.echo(orjson.dumps(asdict(report), option=orjson.OPT_NON_STR_KEYS))
    else:
        print_report(report, Console(highlight=False))
    if not report.verdict.is_conclusion:
        raise typer.Exit(NO_CONCLUSION)
