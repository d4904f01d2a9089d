import math
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from reports.axes import Axis, round_values

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=20), st.booleans())
def test_all_values_lie_on_the_paper_in_their_order(values: list[float], from_zero: bool) -> None:
    scale = Axis("x", from_zero=from_zero).over(values, 10.0, 200.0)
    places = [scale(value) for value in sorted(values)]
    assert all(10.0 <= place <= 200.0 for place in places)
    assert places == sorted(places)
    assert not from_zero or scale.low <= 0.0 <= scale.high


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_a_few_round_numbers_at_the_places_of_their_values(low: float, reach: float) -> None:
    scale = Axis("x", factor=100, signed=True).over((low, low + reach), 0.0, 300.0)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 6
    for place, written in ticks:
        value = float(written.replace(",", ""))
        assert math.isclose(scale(value / 100), place, abs_tol=1.0)


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e4))
def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis(low: float, ratio: float) -> None:
    scale = Axis("ms", logarithmic=True).over((low, low * ratio), 0.0, 100.0)
    assert math.isclose(scale(low * math.sqrt(ratio)), 50.0, abs_tol=1e-6)
    assert all(0.0 <= place <= 100.0 for place, _ in scale.ticks())
    assert scale.ticks()


def test_equal_values_and_none_at_all_have_an_axis_too() -> None:
    for values in ([], [0.0, 0.0], [3.0], [math.nan]):
        for axis in (Axis("x"), Axis("x", logarithmic=True), Axis("x", from_zero=True)):
            scale = axis.over(values, 0.0, 100.0)
            assert scale.low < scale.high
            assert scale.ticks()


@given(numbers, st.floats(1e-6, 1e6))
def test_round_values_lie_between_and_at_equal_distances(low: float, reach: float) -> None:
    high = low + reach
    assume(high > low)
    values = round_values(low, high)
    step = values[1] - values[0] if len(values) > 1 else 0.0
    slack = 1e-6 * (abs(low) + abs(high))
    assert all(low - slack <= value <= high + slack for value in values)
    assert all(math.isclose(b - a, step, abs_tol=slack) for a, b in pairwise(values))
