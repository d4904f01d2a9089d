from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from scipy import stats

from experiments.simulation.shoppers import EAGERNESS, Days, Shoppers, Traffic

DAYS = Days(shoppers=4000, searches_per_day=0.5, first=date(2026, 1, 5), n_days=7, seed=3)
FREQUENCY = np.array([0.5, 0.3, 0.15, 0.05])


def traffic(days: Days, first: date | None = None) -> Traffic:
    return Shoppers.draw(days).traffic(FREQUENCY, first or days.first)


def test_the_same_seed_makes_the_same_traffic() -> None:
    one, two, other = traffic(DAYS), traffic(DAYS), traffic(replace(DAYS, seed=4))
    for name in ("shopper", "query", "day", "eagerness", "coins"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_from_another_day_on_the_same_shoppers_make_other_searches() -> None:
    week, next_week = traffic(DAYS), traffic(DAYS, date(2026, 1, 12))
    assert not np.array_equal(week.query[:100], next_week.query[:100])
    assert not np.array_equal(week.coins[:100], next_week.coins[:100])
    eagerness = dict(zip(week.shopper.tolist(), week.eagerness.tolist(), strict=True))
    for shopper, eager in zip(next_week.shopper.tolist(), next_week.eagerness.tolist(), strict=True):
        assert eagerness.get(shopper, eager) == eager


def test_searches_are_in_time_and_as_many_as_expected() -> None:
    found = traffic(DAYS)
    assert (np.diff(found.day) >= 0).all()
    assert found.day[0] >= 0 and found.day[-1] < 7
    # The number of a shopper is exponential and Poisson: variance m² + m.
    mean = 0.5 * 7
    assert len(found) / 4000 == pytest.approx(mean, abs=4 * np.sqrt((mean**2 + mean) / 4000))
    observed = np.bincount(found.query, minlength=4)
    assert stats.chisquare(observed, FREQUENCY * len(found)).pvalue > 1e-4


def test_eagerness_is_distributed_as_it_is_documented() -> None:
    eagerness = Shoppers.draw(DAYS).eagerness
    assert stats.kstest(eagerness, EAGERNESS.cdf).pvalue > 1e-4
    assert EAGERNESS.mean() == pytest.approx(0.25)
