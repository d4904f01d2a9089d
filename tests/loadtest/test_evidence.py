import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.evidence import probability_kept
from loadtest.slo import LatencyLimits, Slo, judge
from tests.loadtest.recorded import requests

SLO = Slo(search=LatencyLimits(p95_ms=100), error_share=1)


def trial(n: int, slow_share: float, rng: random.Random, *, together: bool = False) -> list[float]:
    slow = round(n * slow_share)
    latencies = [200.0] * slow + [50.0] * (n - slow)
    if not together:
        rng.shuffle(latencies)
    return latencies


@given(st.lists(st.sampled_from([50.0, 200.0]), min_size=1, max_size=300))
def test_the_slo_is_rather_kept_where_it_is_met(latencies: list[float]) -> None:
    """At a half, probability and verdict change together."""
    met = all(judgement.met for judgement in judge(SLO, requests(latencies), 1))
    assert (probability_kept(SLO, requests(latencies)) >= 0.5 - 1e-9) is met


def test_more_of_the_same_makes_surer() -> None:
    rng = random.Random(0)
    good = [probability_kept(SLO, requests(trial(n, 0.01, rng))) for n in (100, 400, 1600)]
    bad = [probability_kept(SLO, requests(trial(n, 0.09, rng))) for n in (100, 400, 1600)]
    assert good == sorted(good)
    assert bad == sorted(bad, reverse=True)
    assert good[-1] > 0.99
    assert bad[-1] < 0.01


def test_slow_requests_that_come_together_tell_less_than_as_many_alone() -> None:
    rng = random.Random(0)
    alone = probability_kept(SLO, requests(trial(1000, 0.08, rng)))
    together = probability_kept(SLO, requests(trial(1000, 0.08, rng, together=True)))
    assert alone < 0.01
    assert 0.2 < together < 0.5


def test_the_probability_is_that_of_repeated_trials() -> None:
    """At the limit itself the test says "kept" as often as it should: its probabilities are even."""
    rng = np.random.default_rng(0)
    draws = [
        probability_kept(SLO, requests(np.where(rng.random(2000) < 0.05, 200.0, 50.0).tolist()))
        for _ in range(200)
    ]
    counts, _ = np.histogram(draws, bins=4, range=(0, 1))
    assert counts.min() > 25


def test_the_worst_limit_decides() -> None:
    slo = Slo(search=LatencyLimits(p95_ms=100), error_share=0.01)
    latencies = [50.0] * 1000
    failing = requests(latencies, failed=[n % 10 == 0 for n in range(1000)])
    assert probability_kept(slo, requests(latencies)) > 0.99
    assert probability_kept(slo, failing) < 0.01


@pytest.mark.parametrize(("failed", "expected"), [(False, 1.0), (True, 0.0)])
def test_a_limit_of_no_error_at_all_is_kept_or_not(failed: bool, expected: float) -> None:
    found = requests([1.0] * 50, failed=[failed] + [False] * 49)
    assert probability_kept(Slo(error_share=0.0), found) == expected


def test_no_answer_is_no_evidence_of_good() -> None:
    assert probability_kept(SLO, requests([])) == 0.0
    assert probability_kept(Slo(error_share=1), requests([1.0, 1.0], failed=True)) == 0.0
