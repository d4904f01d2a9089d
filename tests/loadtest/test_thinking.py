import random
import statistics

import pytest

from loadtest.thinking import PROFILES, browsing, hasty, think_time


def draws(profile: str) -> list[float]:
    rng = random.Random(0)
    return [think_time(profile, rng)(rng) for _ in range(20_000)]


def test_profiles_think_as_long_as_they_say() -> None:
    assert set(draws("none")) == {0.0}
    assert statistics.mean(draws("hasty")) == pytest.approx(1.0, rel=0.05)
    times = draws("browsing")
    assert statistics.median(times) == pytest.approx(5.0, rel=0.05)
    assert statistics.quantiles(times, n=10)[-1] == pytest.approx(14.0, rel=0.05)
    assert max(times) == 60.0


def test_mixed_visits_are_of_both_kinds() -> None:
    rng = random.Random(0)
    drawn = [think_time("mixed", rng) for _ in range(4000)]
    assert drawn.count(hasty) / len(drawn) == pytest.approx(0.25, abs=0.03)
    assert set(drawn) == {hasty, browsing}


@pytest.mark.parametrize("profile", PROFILES)
def test_nobody_thinks_for_less_than_no_time(profile: str) -> None:
    assert min(draws(profile)) >= 0
