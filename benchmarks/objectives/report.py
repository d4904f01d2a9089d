"""The result as one self-contained HTML page."""

from collections.abc import Mapping
from typing import Any

from benchmarks.objectives.plan import RAD_DPO, SFT, START
from benchmarks.objectives.study import WITHOUT_RDRW
from reports.axes import Axis
from reports.intervals import Interval
from reports.page import bullets, cell, facts, note, page, plots, section, table, text
from reports.plots import curves, forest

Result = dict[str, Any]

HALLUCINATION = "hallucination"
AS_LOGGED = "as logged"
POINTS = Axis("points above and below 0", factor=100, signed=True)  # hundredths of a metric


def render(result: Result) -> str:
    """Make the page of a result."""
    data = result["data"]
    return page(
        f"Objectives on {data['path'].rstrip('/').rpartition('/')[2]}",
        [
            _opening(result),
            section("RAD-DPO against each other objective", *_verdicts(result)),
            section("Every row", _rows(result)),
            section("Against continued SFT", plots(_forests(result, SFT, _objectives(result)))),
            section("RAD-DPO without its parts", *_ablation(result)),
            section("More sessions", *_scale(result)),
            section("Noise in the negatives", *_noise(result)),
            section("What was tuned", *_tuning(result)),
            section("How to read it, and how it was made", *_method(result)),
        ],
    )


def _opening(result: Result) -> str:
    data, seeds = result["data"], len(result["seeds"])
    sentences = [
        f"{data['items']:,} items, {data['sids']:,} SIDs, {data['sessions']:,} sessions with negatives.",
        f"Every row starts from one checkpoint and takes {result['steps']:,} steps, with {seeds} seeds;",
        f"{result['n_queries']:,} test queries judge, each with a relevant item.",
    ]
    lacking = [f"{len(result['diverged'])} trainings diverged."] if result["diverged"] else []
    if len(result["revisions"]) > 1:
        lacking.append(f"{len(result['revisions'])} revisions of the code made these trainings; see below.")
    lacking += [f"{result['missing']} trainings are not there yet."] if result["missing"] else []
    return text(*sentences, *lacking)


def _objectives(result: Result) -> list[str]:
    """Rows of the main table that are objectives, not ablations."""
    names = {name.partition(" (")[0] for name in result["tuned"]}
    return [row for row in result["metrics"] if row in names]


def _metrics(result: Result) -> list[str]:
    return list(result["metrics"].get(START) or next(iter(result["metrics"].values()), {}))


def _differences(result: Result, ours: str, theirs: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = result["differences"].get(ours, {}).get(theirs, {})
    return found


def _difference_table(result: Result, first: str, pairs: Mapping[str, tuple[str, str]]) -> str:
    """A row of differences for each pair of rows that was compared."""
    metrics = _metrics(result)
    rows = []
    for label, (ours, theirs) in pairs.items():
        by_metric = _differences(result, ours, theirs)
        if by_metric:
            rows.append([label, *(_difference_cell(metric, by_metric.get(metric)) for metric in metrics)])
    return table([first, *metrics], rows) if rows else ""


def _difference_cell(metric: str, difference: Mapping[str, float] | None) -> str:
    if difference is None:
        return cell()
    found = _interval(difference)
    mean, _, ends = found.shown(POINTS.factor).partition(" ")
    return cell(mean, f"{ends} p {difference['p']:.3f}", found.kind(metric == HALLUCINATION))


def _verdicts(result: Result) -> list[str]:
    others = [name for name in (START, *_objectives(result)) if name != RAD_DPO]
    shown = _difference_table(result, "RAD-DPO against", {name: (RAD_DPO, name) for name in others})
    if not shown:
        return []
    against_sft = _differences(result, RAD_DPO, SFT)
    told = {kind: [] for kind in ("better", "worse", "same")}  # type: dict[str, list[str]]
    for metric, difference in against_sft.items():
        told[_interval(difference).kind(metric == HALLUCINATION)].append(metric)
    sentences = [
        f"{words}: {', '.join(told[kind])}."
        for kind, words in (
            ("better", "Better than continued SFT, with an interval that excludes 0"),
            ("worse", "Worse than it, with an interval that excludes 0"),
            ("same", "Not to be told apart from it"),
        )
        if told[kind]
    ]
    said = "Differences in points (hundredths), with 95% intervals; for hallucination, less is better."
    return [text(*sentences), shown, note(said)]


def _rows(result: Result) -> str:
    metrics = _metrics(result)
    rows = []
    for name, by_metric in result["metrics"].items():
        cells = [_mean_cell(by_metric.get(metric)) for metric in metrics]
        rows.append([name, *cells])
    return table(["", *metrics], rows)


def _mean_cell(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return cell()
    return cell(f"{estimate['mean']:.4f}", f"[{estimate['low']:.4f}, {estimate['high']:.4f}]")


def _forests(result: Result, against: str, rows: list[str]) -> list[str]:
    by_row = {row: _differences(result, row, against) for row in rows}
    return [_forest(metric, metric, by_row) for metric in _metrics(result) if any(by_row.values())]


def _gaps(result: Result, parts: Mapping[str, Result], ours: str, theirs: str) -> list[str]:
    """One row's lead over another under each of several conditions."""
    by_part = {
        label: part.get("differences", {}).get(ours, {}).get(theirs, {}) for label, part in parts.items()
    }
    shown = [*result["tuned_for"], HALLUCINATION] if any(by_part.values()) else []
    return [_forest(f"{metric}: {ours} less {theirs}", metric, by_part) for metric in shown]


def _forest(title: str, metric: str, by_row: Mapping[str, Mapping[str, Any]]) -> str:
    known = {
        row: _interval(differences[metric]) for row, differences in by_row.items() if metric in differences
    }
    kinds = {row: difference.kind(metric == HALLUCINATION) for row, difference in known.items()}
    return forest(title, known, POINTS, kinds)


def _ablation(result: Result) -> list[str]:
    names = [name for name in result["metrics"] if name not in (START, *_objectives(result))]
    shown = _difference_table(result, "minus RAD-DPO", {name: (name, RAD_DPO) for name in names})
    if not shown:
        return []
    said = "Each row less RAD-DPO as it is: where a part helps, the row is below 0. Settings are those of"
    return [text(said, "RAD-DPO, except that the other reading of its formula is tuned for itself."), shown]


def _scale(result: Result) -> list[str]:
    by_share: Result = result["scale"]
    if not by_share:
        return []
    labels = [f"{float(share):.1%}".replace(".0%", "%") for share in by_share]
    figures = _curves(result, list(by_share.values()), [RAD_DPO, SFT], labels, "share of the sessions")
    figures += _gaps(result, dict(zip(labels, by_share.values(), strict=True)), RAD_DPO, SFT)
    said = "The same number of steps at every share, so fewer sessions are seen more often. A smaller share"
    return [text(said, "is part of a larger one of the same seed."), plots(figures)]


def _curves(result: Result, points: list[Result], rows: list[str], labels: list[str], axis: str) -> list[str]:
    figures = []
    for metric in [*result["tuned_for"], HALLUCINATION]:
        lines = {
            row: [_known(point.get("metrics", {}).get(row, {}).get(metric)) for point in points]
            for row in rows
        }
        if any(any(line) for line in lines.values()):
            figures.append(curves(metric, lines, labels, axis, Axis(metric)))
    return figures


def _noise(result: Result) -> list[str]:
    if not result["noise"]:
        return []
    controlled = {rate: one for rate, one in result["noise"].items() if rate != AS_LOGGED}
    labels = [f"{float(rate):.0%}" for rate in controlled]
    found = [one.get("detection", {}) for one in controlled.values()]
    lines = {
        name: [_exactly(one.get(key)) for one in found]
        for name, key in (("precision", "precision"), ("recall", "recall"), ("AUC", "auc"), ("base", "share"))
    }
    axis = "negatives that are relevant in truth"
    figures = [curves("Low weights as a detector", lines, labels, axis, Axis("share, AUC"))]
    figures += _curves(result, list(controlled.values()), [RAD_DPO, WITHOUT_RDRW], labels, axis)
    figures += _gaps(result, dict(zip(labels, controlled.values(), strict=True)), RAD_DPO, WITHOUT_RDRW)
    heads = ["pseudo-negatives", "of the pairs", "low weight", "precision", "recall", "AUC", "pairs"]
    rows = [
        [rate if rate == AS_LOGGED else f"{float(rate):.0%}", *_detection_cells(one["detection"])]
        for rate, one in result["noise"].items()
        if "detection" in one
    ]
    said = "Negatives are drawn anew from items known to be relevant or not. A weight below 0.75 points at a"
    more = "pseudo-negative; precision at the base share means that it points blindly, as does an AUC of 0.5."
    return [
        text(said, more, "Measured at the start, with RDRW's window full."),
        table(heads, rows),
        plots(figures),
    ]


def _interval(estimate: Mapping[str, float]) -> Interval:
    return Interval(estimate["mean"], estimate["low"], estimate["high"])


def _known(estimate: Mapping[str, float] | None) -> Interval | None:
    return None if estimate is None else _interval(estimate)


def _exactly(value: float | None) -> Interval | None:
    return None if value is None else Interval.exactly(value)


def _detection_cells(found: Mapping[str, Any]) -> list[str]:
    shares = (found.get(name) for name in ("share", "flagged", "precision", "recall"))
    cells = [cell("–" if share is None else f"{share:.1%}") for share in shares]
    auc = found.get("auc")
    return [*cells, cell("–" if auc is None else f"{auc:.3f}"), cell(f"{found.get('pairs', 0):,}")]


def _tuning(result: Result) -> list[str]:
    rows = []
    for name, tuned in result["tuned"].items():
        chosen = (tuned["options"], tuned["learning_rate"])
        for point in tuned["grid"]:
            best = (point["options"], point["learning_rate"]) == chosen
            options = ", ".join(f"{key} {value}" for key, value in point["options"].items())
            valid = point["valid_score"]
            score = cell("diverged" if valid is None else f"{valid:.4f}", kind="better" if best else "")
            rows.append([name, cell(f"{point['learning_rate']:g}"), cell(options), score])
    said = f"On valid, with a seed of its own, by the mean of {', '.join(result['tuned_for'])}."
    more = "Of several readings of an objective, the best on valid is its row."
    grid = table(["", "learning rate", "options", "valid"], rows)
    return [text(said, more), grid]


def _method(result: Result) -> list[str]:
    ordering = ", ".join(f"{name} {value:g}" for name, value in result["start"]["ordering"].items())
    remarks = (
        f"Items behind the SIDs are ordered by weights tuned for the start on valid ({ordering}), the same "
        "for every row.",
        "Continued SFT learns from the same sessions in the same order, from their positives alone.",
        "A seed changes the order of the sessions and every draw; the start is the same.",
        "Intervals are percentiles of a bootstrap that draws queries and seeds again, independently of one "
        "another; rows are compared on the same queries and seeds. With few seeds, the share of chance that "
        "lies in them is itself uncertain: look at by_seed in the JSON file.",
        "Each interval and each p stands for itself; they are not corrected for how many there are.",
    )
    names = ("command", "git", "revisions", "device", "versions", "settings", "data")
    return [bullets(remarks), facts({name: result[name] for name in names})]
