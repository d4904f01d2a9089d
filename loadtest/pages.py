"""The HTML report of a load test."""

from collections.abc import Mapping, Sequence

import numpy as np

from loadtest.answers import Operation
from loadtest.open_runs import CapacityRun
from loadtest.report import Report
from loadtest.slo import Judgement
from loadtest.tables import capacity_sentence, figure, generator_sentence
from reports.axes import Axis
from reports.intervals import Interval
from reports.page import cell, facts, note, page, plots, section, table, verdict
from reports.plots import Band, curves, ecdf, lines_with_bands

LATENCY = Axis("latency, ms", logarithmic=True)
TIME = Axis("time, s", from_zero=True)
RATE = Axis("requests per second", from_zero=True)


def report_page(report: Report, settings: Mapping[str, object]) -> str:
    """The page of one load test; ``settings`` are what it needs to be made again."""
    said = "The SLO is met." if report.met else "The SLO is missed."
    return page(
        f"Load test of {report.url}",
        [
            verdict([said, f"{report.load}, {report.seconds:.1f} s."], "better" if report.met else "worse"),
            _limits(report.judgements),
            *_measured(report),
            section("Settings", facts(settings)),
        ],
    )


def capacity_page(run: CapacityRun, url: str, settings: Mapping[str, object]) -> str:
    """The page of a search for the capacity."""
    said = capacity_sentence(run.capacity)
    return page(
        f"Capacity of {url}",
        [
            verdict([f"{said[0].upper()}{said[1:]}."], "better" if run.met else "worse"),
            _limits(run.judgements),
            _trials(run),
            *(_measured(run.at_capacity) if run.at_capacity else ()),
            section("Settings", facts(settings)),
        ],
    )


def _limits(judgements: Sequence[Judgement]) -> str:
    rows = [
        [
            judgement.name,
            cell(f"{judgement.limit:g}"),
            cell(figure(judgement.measured), kind="better" if judgement.met else "worse"),
        ]
        for judgement in judgements
    ]
    return section("SLO", table(["limit", "at", "measured"], rows))


def _measured(report: Report) -> list[str]:
    rows = [
        [
            line.operation,
            cell(f"{line.requests:,}"),
            cell(f"{line.errors:,}"),
            *(
                cell(figure(value))
                for value in (line.rate, line.p50_ms, line.p95_ms, line.p99_ms, line.max_ms)
            ),
        ]
        for line in report.operations
    ]
    heads = ["operation", "requests", "errors", "answered/s", "p50 ms", "p95 ms", "p99 ms", "max ms"]
    answers = {"errors": report.errors, "variants": report.variants, "degraded": report.degraded}
    return [
        section(
            "Latencies",
            note(f"At {report.load}. {_origin(report)}"),
            table(heads, rows),
            plots([_distribution(report), *_over_time(report)]),
        ),
        section("Answers", facts({name: counts or "none" for name, counts in answers.items()})),
        section("Load generator", note(generator_sentence(report.generator))),
    ]


def _origin(report: Report) -> str:
    if report.loop == "open":
        return "Open loop: latencies count from when a request was due."
    return "Closed loop: latencies count from when a request was sent, and no user sends before its answer."


def _distribution(report: Report) -> str:
    samples = {
        str(line.operation): np.array(line.quantiles_ms) for line in report.operations if line.quantiles_ms
    }
    return ecdf("Latencies by operation", samples, LATENCY)


def _over_time(report: Report) -> list[str]:
    windows = [window for window in report.timeline if window.p50_ms is not None]
    x = np.array([window.start_s + window.seconds / 2 for window in windows])
    p50 = np.array([window.p50_ms for window in windows], dtype=np.float64)
    p99 = np.array([window.p99_ms for window in windows], dtype=np.float64)
    every_x = np.array([window.start_s + window.seconds / 2 for window in report.timeline])
    due = np.array([window.requests / window.seconds for window in report.timeline])
    good = np.array([(window.requests - window.errors) / window.seconds for window in report.timeline])
    return [
        lines_with_bands(
            "Latencies of searches over time, p50 to p99", {"search": Band(x, p50, p50, p99)}, TIME, LATENCY
        ),
        lines_with_bands(
            "Requests over time, by when they were due",
            {"due": Band(every_x, due, due, due), "answered": Band(every_x, good, good, good)},
            TIME,
            RATE,
        ),
    ]


def _trials(run: CapacityRun) -> str:
    """The trials by rate: p50 and p99 of searches, and how sure each is."""
    tried = sorted(zip(run.capacity.trials, run.reports, strict=True), key=lambda pair: pair[0].rate)
    searches = [report.of(Operation.SEARCH) for _, report in tried]
    lines = {
        name: [
            None
            if search is None or getattr(search, field) is None
            else Interval.exactly(getattr(search, field))
            for search in searches
        ]
        for name, field in (("p50", "p50_ms"), ("p99", "p99_ms"))
    }
    rows = [
        [
            f"{trial.rate:,.4g}",
            cell("kept" if trial.passed else "missed", kind="better" if trial.passed else "worse"),
            cell(f"{trial.kept:.0%}"),
            cell(figure(search.p50_ms if search else None)),
            cell(figure(search.p99_ms if search else None)),
            cell(figure(report.error_share)),
            cell(f"{report.generator.cpu_share:.0%}"),
            cell(figure(report.generator.lateness_p99_ms)),
        ]
        for (trial, report), search in zip(tried, searches, strict=True)
    ]
    heads = [
        "requests/s",
        "SLO",
        "probability kept",
        "p50 ms",
        "p99 ms",
        "error share",
        "generator CPU",
        "lateness p99 ms",
    ]
    labels = [f"{trial.rate:.3g}" for trial, _ in tried]
    return section(
        "Trials",
        plots([curves("Latencies of searches by rate", lines, labels, "requests per second", LATENCY)]),
        table(heads, rows),
    )
