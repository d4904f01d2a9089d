"""How a load test's report looks on a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.recorder import Report
from loadtest.slo import Judgement


def print_report(report: Report, judgements: Sequence[Judgement]) -> None:
    """Print what was measured and whether the SLO is met."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(_endpoints(report))
    for title, counts in (
        ("errors", report.errors),
        ("variants", report.variants),
        ("degraded", report.degraded),
    ):
        if counts:
            console.print(f"{title}: " + ", ".join(f"{kind} × {count:,}" for kind, count in counts.items()))
    if report.generator_busy:
        console.print(
            "[yellow]The load generator was short of CPU time, so the latencies include its own waiting: "
            "run it on another machine or with fewer users.[/]"
        )
    for judgement in judgements:
        console.print(_sentence(judgement))
    met = all(judgement.met for judgement in judgements)
    console.print("[bold green]SLO met[/]" if met else "[bold red]SLO missed[/]")


def _endpoints(report: Report) -> Table:
    title = f"{report.url}: {report.users} users for {report.seconds:.1f} s, latencies in ms"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("endpoint", no_wrap=True)
    for column in ("requests", "errors", "rate/s", "p50", "p95", "p99", "max"):
        table.add_column(column, justify="right")
    for line in report.endpoints:
        latencies = map(_figure, (line.p50_ms, line.p95_ms, line.p99_ms, line.max_ms))
        table.add_row(
            line.endpoint, f"{line.requests:,}", f"{line.errors:,}", f"{line.rate:,.1f}", *latencies
        )
    return table


def _sentence(judgement: Judgement) -> str:
    mark = "[green]✓[/]" if judgement.met else "[red]✗[/]"
    relation = "≥" if judgement.name == "min_rate" else "≤"
    return f"{mark} {judgement.name} {_figure(judgement.measured)} (limit {relation} {judgement.limit:g})"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if 0 < value < 1 else f"{value:,.1f}"
