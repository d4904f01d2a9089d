"""Plots as inline SVG: no library, no script, colours from the page's style sheet."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Interval = Mapping[str, float]  # mean, low, high

ROW_HEIGHT, LABEL_WIDTH, FOREST_WIDTH = 20, 150, 230
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 300, 170, 44
POINT = 0.01  # differences are shown in points, hundredths of a metric
N_TICKS = 4


def forest(title: str, rows: Mapping[str, Interval], lower_is_better: bool = False) -> str:
    """Differences with their intervals, one below the other, around a line at 0.

    Args:
        title: what differs.
        rows: difference by label.
        lower_is_better: which side of 0 is the good one.
    """
    reach = max((abs(row[end]) for row in rows.values() for end in ("low", "high")), default=0.0)
    reach = max(reach, 1e-9) * 1.05

    def x(value: float) -> float:
        return LABEL_WIDTH + FOREST_WIDTH * (value + reach) / (2 * reach)

    height = ROW_HEIGHT * len(rows) + 34
    parts = [_line(x(0), 4, x(0), height - 28, "zero")]
    for number, (label, row) in enumerate(rows.items()):
        y = ROW_HEIGHT * (number + 0.5) + 4
        kind = verdict(row, lower_is_better)
        parts += [
            _text(LABEL_WIDTH - 8, y + 4, label, "end"),
            _line(x(row["low"]), y, x(row["high"]), y, kind),
            f'<circle class="{kind}" cx="{x(row["mean"]):.1f}" cy="{y:.1f}" r="3.5">'
            f"<title>{escape(label)}: {points(row)}</title></circle>",
        ]
    for value in (-reach / 1.05, 0.0, reach / 1.05):
        parts.append(
            _text(x(value), height - 14, f"{value / POINT:+.2f}" if value else "0", "middle", "tick")
        )
    return _figure(title, "points above and below 0", LABEL_WIDTH + FOREST_WIDTH + 30, height, parts)


def curves(
    title: str, lines: Mapping[str, Sequence[Interval | None]], labels: Sequence[str], axis: str
) -> str:
    """Means with their intervals over some values that stand at equal distances.

    Args:
        title: what is measured.
        lines: by name, an interval for each value, None where there is none.
        labels: the values.
        axis: what the values are.
    """
    known = [point for line in lines.values() for point in line if point]
    low = min((point["low"] for point in known), default=0.0)
    high = max((point["high"] for point in known), default=1.0)
    room = (high - low) * 0.06 or 0.01
    low, high = low - room, high + room

    def x(index: float) -> float:
        return MARGIN + 14 + (CURVE_WIDTH - MARGIN - 28) * index / max(len(labels) - 1, 1)

    def y(value: float) -> float:
        return 8 + (CURVE_HEIGHT - 8) * (high - value) / (high - low)

    parts = []
    for tick in _ticks(low, high):
        parts += [
            _line(MARGIN, y(tick), CURVE_WIDTH, y(tick), "grid"),
            _text(MARGIN - 6, y(tick) + 4, f"{tick:.{_decimals(high - low)}f}", "end", "tick"),
        ]
    parts += [_text(x(i), CURVE_HEIGHT + 18, label, "middle", "tick") for i, label in enumerate(labels)]
    parts.append(_text((MARGIN + CURVE_WIDTH) / 2, CURVE_HEIGHT + 36, axis, "middle", "tick"))
    for number, line in enumerate(lines.values()):
        kind, shift = f"line{number}", 3 * (number - (len(lines) - 1) / 2)
        there = [(x(index) + shift, point) for index, point in enumerate(line) if point]
        path = " ".join(f"{at:.1f},{y(point['mean']):.1f}" for at, point in there)
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        for at, point in there:
            parts += [
                _line(at, y(point["low"]), at, y(point["high"]), kind),
                f'<circle class="{kind}" cx="{at:.1f}" cy="{y(point["mean"]):.1f}" r="3"/>',
            ]
    key = "".join(f'<span class="key line{i}">{escape(name)}</span>' for i, name in enumerate(lines))
    return _figure(title, key, CURVE_WIDTH + 10, CURVE_HEIGHT + 44, parts, key_is_html=True)


def verdict(difference: Interval, lower_is_better: bool) -> str:
    """``better``, ``worse`` or ``same``: where the interval excludes 0, and on which side."""
    sign = (difference["low"] > 0) - (difference["high"] < 0)
    return ("same", "worse", "better")[-sign if lower_is_better else sign] if sign else "same"


def points(difference: Interval) -> str:
    """A difference in points: ``+0.41 [+0.10, +0.72]``."""
    mean, low, high = (difference[name] / POINT for name in ("mean", "low", "high"))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def _figure(
    title: str, below: str, width: float, height: float, parts: Sequence[str], key_is_html: bool = False
) -> str:
    note = below if key_is_html else escape(below)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg><p class="note">{note}</p></figure>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """A few round values between two."""
    step = 10 ** math.floor(math.log10((high - low) / N_TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= N_TICKS + 1)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def _decimals(reach: float) -> int:
    return max(1, math.ceil(-math.log10(reach)) + 1)
