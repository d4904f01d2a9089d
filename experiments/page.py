"""A report as one HTML page that stands alone."""

from dataclasses import asdict

import numpy as np

from experiments.comparison import MetricResult
from experiments.figures import p_value, percent, value
from experiments.interleaving import Interleaving
from experiments.report import Report
from experiments.split import Split, Variation
from reports.axes import Axis
from reports.intervals import Interval, Kind
from reports.page import bullets, cell, facts, note, page, plots, section, table, verdict
from reports.plots import Band, bars, ecdf, forest, lines_with_bands

KINDS: dict[str, Kind] = {"better": "better", "worse": "worse"}
AXES = {"share": Axis("%", factor=100), "amount": Axis("per user"), "ms": Axis("ms")}
METHOD = (
    "A user is a user_id, or an anonymous_id where there is none. Intervals are of users, not of searches: "
    "ratios have the delta method's variance. They are 95% ones, each for itself.",
    "p (Holm) is corrected for everything that is tested here; better and worse are said where it is below "
    "the level.",
    "Users and days needed are for the plan's effect and power; the MDE is the smallest difference found "
    "with that power. All are for the strictest step of Holm's method, so on the safe side. Days are counted "
    "at the rate at which users came so far.",
    "CUPED uses what the same users did before the experiment; its column says what is left of the interval.",
    "A session ends after 30 minutes without a search; one without an action had no click, cart or purchase.",
    "The figures hold for one look at the end that was planned; who looks daily and stops at the first good "
    "day finds differences that are none.",
)


def render(report: Report) -> str:
    """Make the page."""
    words = set(report.verdict.words.values())
    kind = KINDS.get(next(iter(words)), "same") if len(words) == 1 else "same"
    sections = [verdict(report.verdict.sentences, kind), bullets(report.verdict.warnings)]
    if report.split is not None:
        sections += _split(report.split)
    sections += [section("Interleaved", *(_interleaving(one) for one in report.interleavings))]
    told = {"experiment": report.experiment, "plan": asdict(report.plan), "log": asdict(report.log)}
    sections.append(section("How to read it", bullets(METHOD), facts(told)))
    return page(f"Experiment {report.experiment}", sections)


def _split(split: Split) -> list[str]:
    control, *others = split.variations
    span = f"{split.first:%Y-%m-%d %H:%M} to {split.last:%Y-%m-%d %H:%M} UTC, {split.n_days:.1f} days."
    shares = f"Users as far from the expected shares come by chance with p = {split.sample_ratio.p:.3g}."
    sections = [section("Users", _variations(split), note(span, shares))]
    for other in others if split.metrics else ():
        title = f"{other.variant} against {control.variant}"
        figure = _forest(split.metrics, control, other)
        told = _power(split.metrics, other)
        sections.append(section(title, _metrics(split.metrics, control, other), plots([figure]), told))
    figures = [_bars(metric, split) for metric in split.metrics]
    sections.append(section("By variation", plots(figures)))
    return [
        *sections,
        section("Over time", plots([_trend(split)])),
        section("Latency", plots([_latency(split)])),
    ]


def _name(one: Variation) -> str:
    return f"{one.number} {one.variant}"


def _variations(split: Split) -> str:
    rows = [
        [
            _name(one),
            cell(str(one.users)),
            cell(percent(split.sample_ratio.shares[one.number])),
            cell(str(one.searches)),
            cell(f"{one.searches / one.users:.2f}"),
        ]
        for one in split.variations
    ]
    return table(["variation", "users", "expected", "searches", "searches per user"], rows)


def _metrics(metrics: list[MetricResult], control: Variation, other: Variation) -> str:
    heads = ["", control.variant, other.variant, "difference", "low", "high", "p", "p (Holm)"]
    return table(heads, [[metric.title, *_cells(metric, control, other)] for metric in metrics])


def _cells(metric: MetricResult, control: Variation, other: Variation) -> list[str]:
    values = [cell(value(metric, one)) for one in (control, other)]
    difference = metric.differences[other.number]
    if difference is None:
        return [*values, cell("nothing to test")]
    ends = difference.relative
    told = [ends.mean, ends.low, ends.high] if ends else []
    cells = [cell(f"{100 * end:+.2f}%", kind=difference.kind) for end in told] or [cell("–")] * 3
    cells += [cell(p_value(difference.p)), cell(p_value(difference.p_adjusted), kind=difference.kind)]
    return [*values, *cells]


def _power(metrics: list[MetricResult], other: Variation) -> str:
    heads = ["", "users needed", "days needed", "power now", "found so far (MDE)", "CUPED leaves"]
    rows = []
    for metric in metrics:
        difference = metric.differences[other.number]
        if difference is not None and difference.power is not None:
            power, kept = difference.power, difference.width_kept
            cells = [str(power.users_needed), f"{power.days_needed:.1f}", percent(power.power)]
            cells += [percent(power.detectable), "–" if kept is None else percent(kept)]
            rows.append([metric.title, *map(cell, cells)])
    return table(heads, rows) if rows else ""


def _forest(metrics: list[MetricResult], control: Variation, other: Variation) -> str:
    rows: dict[str, Interval] = {}
    kinds: dict[str, Kind] = {}
    for metric in metrics:
        difference = metric.differences[other.number]
        if difference is not None and difference.relative is not None:
            rows[metric.title] = difference.relative
            kinds[metric.title] = difference.kind
    axis = Axis(f"difference from {control.variant}, %", factor=100, signed=True)
    return forest("Differences with 95% intervals", rows, axis, kinds)


def _bars(metric: MetricResult, split: Split) -> str:
    axis = AXES[metric.unit]
    rows = {_name(one): metric.values[one.number] for one in split.variations if one.number in metric.values}
    return bars(metric.title, rows, axis)


def _trend(split: Split) -> str:
    lines = {}
    for one in split.variations:
        days = [(day.day, day.ctr[one.number]) for day in split.days if one.number in day.ctr]
        columns = [[day + 1.0, ctr.mean, ctr.low, ctr.high] for day, ctr in days]
        lines[_name(one)] = Band(*np.array(columns, dtype=np.float64).reshape(-1, 4).T)
    return lines_with_bands(
        "Click-through rate by day", lines, Axis("day"), Axis("click-through rate, %", factor=100)
    )


def _latency(split: Split) -> str:
    samples = {
        _name(one): np.array(split.latency_quantiles[one.number])
        for one in split.variations
        if one.number in split.latency_quantiles
    }
    return ecdf("Latency of searches", samples, Axis("milliseconds", logarithmic=True)) if samples else ""


def _interleaving(one: Interleaving) -> str:
    rows = [
        [variant, *(cell(str(pair[number])) for pair in (one.credits, one.searches_won, one.users_won))]
        for number, variant in enumerate(one.variants)
    ]
    rows.append(["shared places", cell(str(one.shared_clicks)), cell(), cell()])
    share = one.win_share
    told = f"{one.searches:,} searches of {one.users:,} users; p = {one.p:.3g}."
    figure = (
        bars(
            "Users who prefer it",
            {
                one.variants[1]: share,
                one.variants[0]: Interval(1 - share.mean, 1 - share.high, 1 - share.low),
            },
            Axis("of the users who prefer one, %", factor=100),
        )
        if share is not None
        else ""
    )
    return table(["", "clicks", "searches won", "users won"], rows) + note(told) + plots([figure])
