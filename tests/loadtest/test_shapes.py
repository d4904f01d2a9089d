import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.arrivals import poisson_arrivals
from loadtest.shapes import SHAPES, constant, spike, steps

TIMES = st.floats(0, 1)


@given(st.sampled_from(sorted(SHAPES)), TIMES)
def test_a_shape_is_a_share_of_its_peak(name: str, time: float) -> None:
    assert 0 < SHAPES[name](time) <= 1


@given(TIMES, TIMES)
def test_steps_go_up_in_fifths(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    assert steps(earlier) <= steps(later)
    assert {steps(share / 100) for share in range(101)} == {0.2, 0.4, 0.6, 0.8, 1.0}


def test_a_spike_stands_in_the_middle() -> None:
    assert [spike(share) for share in (0.0, 0.39, 0.4, 0.59, 0.6, 1.0)] == [0.25, 0.25, 1, 1, 0.25, 0.25]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_arrivals_follow_the_shape(name: str) -> None:
    """The number of arrivals in each tenth of the time is Poisson with the mean that the shape gives."""
    arrivals = list(poisson_arrivals(1000.0, 20.0, SHAPES[name], random.Random(0)))
    assert arrivals == sorted(arrivals)
    counts, _ = np.histogram(arrivals, bins=10, range=(0, 20))
    expected = np.array([2000 * SHAPES[name]((tenth + 0.5) / 10) for tenth in range(10)])
    assert np.all(np.abs(counts - expected) < 4 * expected**0.5)


def test_arrivals_are_as_irregular_as_those_of_a_poisson_process() -> None:
    gaps = np.diff(list(poisson_arrivals(50.0, 400.0, constant, random.Random(1))))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.03)
