"""How a load test looks on a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from loadtest.answers import Operation
from loadtest.capacity import Capacity, Trial
from loadtest.open_runs import CapacityRun
from loadtest.report import Generator, Report
from loadtest.slo import GOODPUT, Judgement

LEAST_WIDTH = 100


def print_report(report: Report) -> None:
    """Print what was measured and whether the SLO is met."""
    console = _console()
    title = f"{report.url}: {report.load}, {report.seconds:.1f} s"
    console.print(_operations(report, title))
    _print_rest(console, report)
    print_verdict(report.judgements)


def print_trial(trial: Trial, report: Report) -> None:
    """Print one line on stderr about a trial."""
    search = report.of(Operation.SEARCH)
    p99 = figure(search.p99_ms if search else None)
    errors = f"{report.error_share:.1%}" if report.error_share is not None else "–"
    verdict = (
        "kept" if trial.passed else "missed, by the load generator" if trial.generator_limited else "missed"
    )
    Console(stderr=True, highlight=False).print(
        f"{trial.rate:9,.1f} requests/s: {verdict} (sure to {max(trial.kept, 1 - trial.kept):.0%}); "
        f"search p99 {p99} ms, errors {errors}"
    )


def print_capacity(run: CapacityRun, url: str) -> None:
    """Print the capacity, and what was measured there."""
    console = _console()
    if run.at_capacity:
        console.print(_operations(run.at_capacity, f"{url}: the SLO is kept at {run.at_capacity.load}"))
        _print_rest(console, run.at_capacity)
    console.print(f"[bold]{capacity_sentence(run.capacity)}[/]")
    print_verdict(run.judgements)


def print_verdict(judgements: Sequence[Judgement]) -> None:
    """Print each limit, and whether all are kept."""
    console = _console()
    for judgement in judgements:
        mark = "[green]✓[/]" if judgement.met else "[red]✗[/]"
        console.print(f"{mark} {judgement_sentence(judgement)}")
    met = all(judgement.met for judgement in judgements)
    console.print("[bold green]SLO met[/]" if met else "[bold red]SLO missed[/]")


def capacity_sentence(capacity: Capacity) -> str:
    """What was found."""
    if not capacity.rate:
        tried = min(trial.rate for trial in capacity.trials)
        return f"no capacity: the SLO is missed at {tried:,.4g} requests/s already"
    if capacity.generator_limited:
        return (
            f"capacity: at least {capacity.rate:,.4g} requests/s; above, this load generator is the limit: "
            "run it on another machine"
        )
    if capacity.high is None:
        return f"capacity: at least {capacity.rate:,.4g} requests/s; there was no time to try more"
    return (
        f"capacity: {capacity.rate:,.4g} requests/s "
        f"(90% interval {capacity.low:,.4g} to {capacity.high:,.4g}, {len(capacity.trials)} trials)"
    )


def generator_sentence(generator: Generator) -> str:
    """How the load generator was."""
    lateness = f"lateness p50 {generator.lateness_p50_ms:.1f} ms, p99 {generator.lateness_p99_ms:.1f} ms"
    sentence = f"load generator: {generator.cpu_share:.0%} of a core, {lateness}"
    if not generator.limited:
        return sentence
    return (
        f"{sentence}; it was not on time, so latencies include its own waiting: "
        "run it on a machine with more CPU time to spare"
    )


def judgement_sentence(judgement: Judgement) -> str:
    """One limit beside what was measured."""
    relation = "≥" if judgement.name == GOODPUT else "≤"
    return f"{judgement.name} {figure(judgement.measured)} (limit {relation} {judgement.limit:g})"


def figure(value: float | None) -> str:
    """A figure as it is read; small ones have more decimals."""
    if value is None:
        return "–"
    return f"{value:.4f}" if 0 < value < 1 else f"{value:,.1f}"


def _console() -> Console:
    """Standard output, with room for the figures where nobody looks at a terminal."""
    console = Console(soft_wrap=True, highlight=False)
    console.width = max(console.width, LEAST_WIDTH)
    return console


def _operations(report: Report, title: str) -> Table:
    table = Table(title=f"{title}, latencies in ms", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("operation", no_wrap=True)
    for column in ("requests", "errors", "rate/s", "p50", "p95", "p99", "max"):
        table.add_column(column, justify="right")
    for line in report.operations:
        latencies = map(figure, (line.p50_ms, line.p95_ms, line.p99_ms, line.max_ms))
        table.add_row(
            line.operation, f"{line.requests:,}", f"{line.errors:,}", f"{line.rate:,.1f}", *latencies
        )
    return table


def _print_rest(console: Console, report: Report) -> None:
    for title, counts in (
        ("errors", report.errors),
        ("variants", report.variants),
        ("degraded", report.degraded),
    ):
        if counts:
            console.print(f"{title}: " + ", ".join(f"{kind} × {count:,}" for kind, count in counts.items()))
    console.print(f"goodput: {report.goodput:,.1f} searches/s")
    console.print(generator_sentence(report.generator), style="yellow" if report.generator.limited else None)
