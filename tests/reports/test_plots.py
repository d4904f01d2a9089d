from xml.etree import ElementTree

import numpy as np
import pytest

from reports.axes import Axis
from reports.intervals import Interval
from reports.plots import Band, bars, curves, ecdf, forest, histogram, lines_with_bands

PERCENT = Axis("difference, %", factor=100, signed=True)


def drawn(figure: str) -> ElementTree.Element:
    """The drawing; it has to be well-formed."""
    return ElementTree.fromstring(figure)


def places(element: ElementTree.Element) -> np.ndarray:
    """Points of a polyline or polygon, float64 [n, 2]."""
    return np.array([pair.split(",") for pair in element.attrib["points"].split()], dtype=np.float64)


def words(figure: str) -> list[str]:
    return [element.text or "" for element in drawn(figure).iter("text")]


def test_intervals_around_zero_are_coloured_by_what_is_good() -> None:
    rows = {"clicks <all>": Interval(0.02, 0.01, 0.03), "latency": Interval(0.02, 0.01, 0.03)}
    kinds = {
        "clicks <all>": rows["clicks <all>"].kind(),
        "latency": rows["latency"].kind(lower_is_better=True),
    }
    figure = forest("Difference", rows, PERCENT, kinds)
    first, second = drawn(figure).iter("circle")
    assert (first.attrib["class"], second.attrib["class"]) == ("better", "worse")
    assert first.attrib["cx"] == second.attrib["cx"]
    assert "clicks <all>" in words(figure)
    assert "difference, %" in words(figure)


def test_a_bar_is_as_high_as_its_value_is_large() -> None:
    figure = drawn(bars("Rate", {"a": Interval(0.1, 0.05, 0.15), "b": Interval(0.2, 0.1, 0.3)}, Axis("rate")))
    first, second = (float(bar.attrib["height"]) for bar in figure.iter("rect"))
    assert second == pytest.approx(2 * first, abs=0.2)


def test_a_band_surrounds_its_line() -> None:
    x = np.arange(5.0)
    band = Band(x, 2 * x, 2 * x - 1, 2 * x + 1)
    figure = drawn(lines_with_bands("Trend", {"a": band}, Axis("day"), Axis("clicks")))
    (area,), (line,) = figure.iter("polygon"), figure.iter("polyline")
    high, low = places(area)[:5], places(area)[5:][::-1]
    np.testing.assert_allclose((high + low) / 2, places(line), atol=0.11)


def test_a_curve_leaves_out_what_is_not_known() -> None:
    one, two = Interval(1.0, 0.5, 1.5), Interval(2.0, 1.5, 2.5)
    figure = drawn(curves("Recall", {"a": [one, None, two]}, ["1", "2", "3"], "shares", Axis("recall")))
    assert len(list(figure.iter("circle"))) == 2


def test_the_curve_of_a_distribution_goes_through_its_quantiles() -> None:
    values = np.random.default_rng(0).lognormal(3.0, 0.5, 4000)
    axis = Axis("latency, ms", logarithmic=True)
    (line,) = drawn(ecdf("Latency", {"a": values}, axis)).iter("polyline")
    points = places(line)
    scale = axis.over(values.tolist(), points[0, 0], points[-1, 0])
    y_of_half = (points[0, 1] + points[-1, 1]) / 2
    x_of_half = np.interp(-y_of_half, -points[:, 1], points[:, 0])
    assert x_of_half == pytest.approx(scale(float(np.median(values))), abs=1.0)


def test_the_bins_of_a_histogram_hold_every_value() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    counts, _ = np.histogram(values, bins=8)
    figure = drawn(histogram("Values", {"a": values}, Axis("z"), n_bins=8))
    heights = np.array([float(bar.attrib["height"]) for bar in figure.iter("rect")])
    np.testing.assert_allclose(heights / heights.sum(), counts / 1000, atol=0.002)


def test_plots_of_nothing_are_drawn_empty() -> None:
    nothing = Axis("x")
    for figure in (
        forest("t", {}, nothing),
        bars("t", {}, nothing),
        curves("t", {}, [], "x", nothing),
        lines_with_bands("t", {}, nothing, nothing),
        histogram("t", {}, nothing),
        ecdf("t", {}, nothing),
    ):
        assert drawn(figure).find("svg") is not None
