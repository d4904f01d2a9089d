"""Plots: intervals around 0, lines with a band, bars with intervals, and how values are distributed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports import svg
from reports.axes import BELOW, LEFT, TOP, Axis, horizontal_grid, vertical_grid
from reports.intervals import Interval, Kind

Values = NDArray[np.float64]

WIDTH, HEIGHT = 360, 230
PLOT_TOP = TOP + 12  # below the name of the y axis
ROW_HEIGHT, LETTER_WIDTH, FOREST_WIDTH = 20, 6.6, 250
SHARE = Axis("share of the values, %", factor=100, from_zero=True)
BELOW_VALUE = Axis("share at or below, %", factor=100, from_zero=True)
N_BINS, N_ECDF_POINTS = 30, 200


@dataclass(frozen=True)
class Band:
    """A line and the band around it.

    Attributes:
        x: where, ascending, float64 [n].
        mean, low, high: the line and the ends of its band there, float64 [n].
    """

    x: Values
    mean: Values
    low: Values
    high: Values


def forest(
    title: str, rows: Mapping[str, Interval], axis: Axis, kinds: Mapping[str, Kind] | None = None
) -> str:
    """Differences with their intervals, one below the other, around a line at 0.

    Args:
        title: what differs.
        rows: difference by label.
        axis: of the differences.
        kinds: by label, whether the difference is good; without it, whatever is above 0 is.
    """
    left = 16 + LETTER_WIDTH * max((len(label) for label in rows), default=0)
    right, bottom = left + FOREST_WIDTH, ROW_HEIGHT * len(rows) + TOP
    ends = [end for row in rows.values() for end in (row.low, row.high)]
    reach = max((abs(end) for end in ends), default=1.0)
    x = axis.over((-reach, reach), left, right)
    parts = [*vertical_grid(x, TOP, bottom), svg.line(x(0), TOP, x(0), bottom, "zero")]
    for number, (label, row) in enumerate(rows.items()):
        y = ROW_HEIGHT * (number + 0.5) + TOP
        kind = kinds[label] if kinds is not None else row.kind()
        said = f"{label}: {row.shown(axis.factor)}"
        parts += [
            svg.text(left - 8, y + 4, label, "end"),
            svg.line(x(row.low), y, x(row.high), y, kind),
            svg.circle(x(row.mean), y, 3.5, kind, said),
        ]
    return svg.figure(title, right + 30, bottom + BELOW, parts)


def curves(
    title: str,
    lines: Mapping[str, Sequence[Interval | None]],
    labels: Sequence[str],
    x_label: str,
    axis: Axis,
) -> str:
    """Means with their intervals over values that stand at equal distances.

    Args:
        title: what is measured.
        lines: by name, an interval for each value, None where there is none.
        labels: the values.
        x_label: what they are.
        axis: of the means.
    """
    known = [point for line in lines.values() for point in line if point]
    bottom = HEIGHT - BELOW
    y = axis.over([end for point in known for end in (point.low, point.high)], bottom, PLOT_TOP)
    places = np.linspace(LEFT + 14, WIDTH - 14, max(len(labels), 1)).tolist()
    parts = horizontal_grid(y, LEFT, WIDTH)
    parts += [
        svg.text(place, bottom + 16, label, "middle", "tick")
        for place, label in zip(places, labels, strict=False)
    ]
    parts.append(svg.text((LEFT + WIDTH) / 2, bottom + 32, x_label, "middle", "tick"))
    for number, (name, line) in enumerate(lines.items()):
        kind, shift = svg.hue(number), 3 * (number - (len(lines) - 1) / 2)
        there = [(place + shift, point) for place, point in zip(places, line, strict=True) if point]
        parts.append(svg.polyline(((place, y(point.mean)) for place, point in there), kind))
        for place, point in there:
            parts += [
                svg.line(place, y(point.low), place, y(point.high), kind),
                svg.circle(place, y(point.mean), 3, kind, f"{name}: {point.mean * axis.factor:g}"),
            ]
    return svg.figure(title, WIDTH + 10, HEIGHT, parts, svg.key(lines))


def lines_with_bands(title: str, lines: Mapping[str, Band], x_axis: Axis, y_axis: Axis) -> str:
    """Lines over a scale, each with its band."""
    bottom = HEIGHT - BELOW
    x = x_axis.over(_all(line.x for line in lines.values()), LEFT, WIDTH - 10)
    y = y_axis.over(_all(end for line in lines.values() for end in (line.low, line.high)), bottom, PLOT_TOP)
    parts = [*horizontal_grid(y, LEFT, WIDTH), *vertical_grid(x, PLOT_TOP, bottom)]
    if y.low < 0 < y.high:
        parts.append(svg.line(LEFT, y(0), WIDTH, y(0), "zero"))
    for number, line in enumerate(lines.values()):
        low, mean, high = (
            [(x(at), y(value)) for at, value in zip(line.x.tolist(), edge.tolist(), strict=True)]
            for edge in (line.low, line.mean, line.high)
        )
        parts += [svg.polygon([*high, *reversed(low)], svg.hue(number)), svg.polyline(mean, svg.hue(number))]
    return svg.figure(title, WIDTH + 10, HEIGHT, parts, svg.key(lines))


def bars(title: str, rows: Mapping[str, Interval], axis: Axis) -> str:
    """Bars from 0 with the intervals of their heights."""
    bottom = HEIGHT - BELOW
    y = axis.over((0.0, *(end for row in rows.values() for end in (row.low, row.high))), bottom, PLOT_TOP)
    parts = [*horizontal_grid(y, LEFT, WIDTH), svg.line(LEFT, y(0), WIDTH, y(0), "zero")]
    slot = (WIDTH - LEFT) / max(len(rows), 1)
    width = min(0.6 * slot, 90)
    for number, (label, row) in enumerate(rows.items()):
        middle, top = LEFT + slot * (number + 0.5), y(max(row.mean, 0.0))
        height = y(min(row.mean, 0.0)) - top
        said = f"{label}: {row.mean * axis.factor:,.4g}"
        parts += [
            svg.rect(middle - width / 2, top, width, height, svg.hue(number), said),
            svg.line(middle, y(row.low), middle, y(row.high), "mark"),
            svg.text(middle, bottom + 16, label, "middle", "tick"),
        ]
    return svg.figure(title, WIDTH + 10, HEIGHT - 14, parts)


def histogram(title: str, samples: Mapping[str, Values], axis: Axis, n_bins: int = N_BINS) -> str:
    """How often each range of values occurs; samples lie over one another on the same bins."""
    known = {name: values[np.isfinite(values)] for name, values in samples.items() if len(values)}
    together = np.concatenate(list(known.values())) if known else np.zeros(1)
    edges = np.histogram_bin_edges(together, bins=n_bins)
    shares = {name: np.histogram(values, edges)[0] / max(len(values), 1) for name, values in known.items()}
    bottom = HEIGHT - BELOW
    x = axis.over(edges.tolist(), LEFT, WIDTH - 10)
    y = SHARE.over(_all(shares.values()), bottom, PLOT_TOP)
    parts = [*horizontal_grid(y, LEFT, WIDTH), *vertical_grid(x, PLOT_TOP, bottom)]
    for number, of_bin in enumerate(shares.values()):
        parts += [
            svg.rect(x(low), y(share), x(high) - x(low), bottom - y(share), svg.hue(number))
            for low, high, share in zip(edges[:-1].tolist(), edges[1:].tolist(), of_bin.tolist(), strict=True)
        ]
    return svg.figure(title, WIDTH + 10, HEIGHT, parts, svg.key(known) if len(known) > 1 else "")


def ecdf(title: str, samples: Mapping[str, Values], axis: Axis) -> str:
    """What share of the values is at or below each value."""
    shares = np.linspace(0.0, 1.0, N_ECDF_POINTS)
    known = {name: np.quantile(values, shares) for name, values in samples.items() if len(values)}
    bottom = HEIGHT - BELOW
    x = axis.over(_all(known.values()), LEFT, WIDTH - 10)
    y = BELOW_VALUE.over((0.0, 1.0), bottom, PLOT_TOP)
    parts = [*horizontal_grid(y, LEFT, WIDTH), *vertical_grid(x, PLOT_TOP, bottom)]
    for number, values in enumerate(known.values()):
        points = zip(map(x, values.tolist()), map(y, shares.tolist()), strict=True)
        parts.append(svg.polyline(points, svg.hue(number)))
    return svg.figure(title, WIDTH + 10, HEIGHT, parts, svg.key(known))


def _all(arrays: Iterable[Values]) -> list[float]:
    return [value for array in arrays for value in np.asarray(array).tolist()]
