"""A report on the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.comparison import Difference, MetricResult
from experiments.event_log import LogCounts
from experiments.figures import p_value, percent, relative, value
from experiments.interleaving import Interleaving
from experiments.power import Plan
from experiments.report import Report
from experiments.split import Split, Variation

STYLES = {"better": "bold green", "worse": "bold red", "same": ""}


def print_report(report: Report, console: Console) -> None:
    """Print a report."""
    console.print(f"[bold]{report.experiment}[/bold]")
    if report.split is not None:
        _print_split(report.split, report.plan, console)
    for one in report.interleavings:
        console.print(_interleaving(one))
    console.print(_counts(report.log), style="dim")
    for warning in report.verdict.warnings:
        console.print(Text(warning, style="yellow"))
    for sentence in report.verdict.sentences:
        console.print(Text(sentence, style="bold"))


def _counts(log: LogCounts) -> str:
    left_out = {
        "repeated searches": log.searches_left_out,
        "repeated actions": log.actions_left_out,
        "actions without their search": log.actions_without_search,
        "unreadable lines": log.unreadable,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in left_out.items() if count)
    return f"{log.searches:,} searches, {log.actions:,} actions{f'; left out: {told}' if told else ''}"


def _print_split(split: Split, plan: Plan, console: Console) -> None:
    console.print(
        f"{split.first:%Y-%m-%d %H:%M} to {split.last:%Y-%m-%d %H:%M} UTC, {split.n_days:.1f} days; "
        f"sample ratio: p = {p_value(split.sample_ratio.p)}",
        style="dim",
    )
    console.print(_variations(split))
    control, *others = split.variations
    for other in others if split.metrics else ():
        console.print(_metrics(split.metrics, control, other))
        console.print(_power(split.metrics, other, plan))


def _power(metrics: list[MetricResult], other: Variation, plan: Plan) -> Table:
    table = _table(f"To find {percent(plan.effect)} with {percent(plan.power)} power")
    for name in ("users", "days", "found so far", "CUPED leaves"):
        table.add_column(name, justify="right")
    for metric in metrics:
        difference = metric.differences[other.number]
        if difference is not None and difference.power is not None:
            power, kept = difference.power, difference.width_kept
            table.add_row(
                metric.name,
                f"{power.users_needed:,}",
                f"{power.days_needed:.1f}",
                percent(power.detectable),
                "–" if kept is None else percent(kept),
            )
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("")
    return table


def _variations(split: Split) -> Table:
    table = _table("Users")
    for name in ("users", "expected", "searches"):
        table.add_column(name, justify="right")
    for one in split.variations:
        expected = split.sample_ratio.shares[one.number]
        table.add_row(f"{one.number} {one.variant}", f"{one.users:,}", percent(expected), f"{one.searches:,}")
    return table


def _metrics(metrics: list[MetricResult], control: Variation, other: Variation) -> Table:
    table = _table(f"{other.variant} against {control.variant}")
    for name in (control.variant, other.variant, "difference, 95% interval", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    for metric in metrics:
        table.add_row(metric.name, *_cells(metric, control, other))
    return table


def _cells(metric: MetricResult, control: Variation, other: Variation) -> list[Text]:
    values = [Text(value(metric, one)) for one in (control, other)]
    difference = metric.differences[other.number]
    if difference is None:
        return [*values, Text("nothing to test", style="dim")]
    return [*values, *_difference(difference)]


def _difference(difference: Difference) -> list[Text]:
    style = STYLES[difference.kind]
    return [
        Text(relative(difference.relative), style=style),
        Text(p_value(difference.p_adjusted), style=style),
    ]


def _interleaving(one: Interleaving) -> Table:
    table = Table(
        title=f"Interleaved: {one.searches:,} searches of {one.users:,} users", title_justify="left"
    )
    table.add_column("")
    for name in ("clicks", "searches won", "users won"):
        table.add_column(name, justify="right")
    for number, variant in enumerate(one.variants):
        counts = (one.credits[number], one.searches_won[number], one.users_won[number])
        table.add_row(variant, *(f"{count:,}" for count in counts))
    table.add_row("shared places", f"{one.shared_clicks:,}", style="dim")
    return table
