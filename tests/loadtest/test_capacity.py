"""The search for the capacity, against servers that are simulated in virtual time."""

import asyncio
import heapq
import random
import statistics
from dataclasses import dataclass
from functools import cached_property

import pytest

from loadtest.arrivals import poisson_arrivals
from loadtest.capacity import LEAST_RATE, MOST_RATE, Belief, Capacity, Trial, find_capacity
from loadtest.evidence import probability_kept
from loadtest.shapes import constant
from loadtest.slo import LatencyLimits, Slo
from tests.loadtest.recorded import requests

SLO = Slo(search=LatencyLimits(p99_ms=200))
TRIAL_S = 5.0


def queue(rate: float, places: int, service_s: float, seconds: float, rng: random.Random) -> list[float]:
    """Latencies, ms, of Poisson arrivals at a server that serves some at a time, each for so long (M/D/c)."""
    free, latencies = [0.0] * places, []
    for due in poisson_arrivals(rate, seconds, constant, rng):
        done = max(due, free[0]) + service_s
        heapq.heapreplace(free, done)
        latencies.append(1000 * (done - due))
    return latencies


@dataclass(frozen=True)
class Server:
    """Some requests at a time, each for so long."""

    places: int
    service_s: float

    def kept(self, rate: float, seconds: float, rng: random.Random) -> float:
        return probability_kept(SLO, requests(queue(rate, self.places, self.service_s, seconds, rng)))

    @cached_property
    def capacity(self) -> float:
        """The oracle: plain bisection with trials so long that none misleads."""
        rng, low, high = random.Random(99), 0.0, 1.1 * self.places / self.service_s
        while high > 1.02 * low:
            rate = (low + high) / 2
            low, high = (rate, high) if self.kept(rate, 20_000 / rate, rng) >= 0.5 else (low, rate)
        return low


def search(server: Server, *, budget_s: float = 180.0, seed: int = 0, misleading: float = 0.0) -> Capacity:
    """Search on a server; a share of the trials tells the opposite of what is so."""
    rng = random.Random(seed)

    async def attempt(rate: float) -> Trial:
        kept = server.kept(rate, max(TRIAL_S, 100 / rate), rng)
        return Trial(rate, 1 - kept if rng.random() < misleading else kept, False, TRIAL_S)

    return asyncio.run(find_capacity(attempt, budget_s))


SERVERS = [Server(4, 0.004), Server(4, 0.012), Server(4, 0.06), Server(2, 0.15)]
"""From 1000 requests per second to 13; the capacity of the last is below the rate that is tried first."""


@pytest.mark.parametrize("server", SERVERS)
def test_the_capacity_is_that_of_the_oracle(server: Server) -> None:
    found = [search(server, seed=seed) for seed in range(5)]
    for capacity in found:
        assert capacity.rate == pytest.approx(server.capacity, rel=0.25)
        assert capacity.high is not None
        assert capacity.low <= capacity.rate <= capacity.high
    assert statistics.median(capacity.rate for capacity in found) == pytest.approx(server.capacity, rel=0.12)


def test_trials_that_mislead_are_outvoted() -> None:
    server = SERVERS[1]
    found = [search(server, budget_s=400.0, seed=seed, misleading=0.05) for seed in range(20)]
    assert sum(abs(capacity.rate / server.capacity - 1) < 0.12 for capacity in found) >= 17


def test_a_slow_moment_at_a_low_rate_does_not_hold_the_search_there() -> None:
    made: list[float] = []

    async def attempt(rate: float) -> Trial:
        made.append(rate)
        slow_moment = len(made) in {1, 4}
        return Trial(rate, 0.0 if slow_moment or rate > 500 else 1.0, False, 1.0)

    found = asyncio.run(find_capacity(attempt, 200.0))
    assert found.rate == pytest.approx(500, rel=0.1)


def test_the_search_ends_in_time() -> None:
    for budget_s in (5.0, 22.0, 60.0, 90.0):
        found = search(SERVERS[1], budget_s=budget_s)
        assert sum(trial.seconds for trial in found.trials) <= budget_s


def test_without_time_to_miss_the_slo_the_capacity_is_open_above() -> None:
    found = search(SERVERS[0], budget_s=4 * TRIAL_S)
    assert (found.rate, found.low, found.high) == (64.0, 64.0, None)


def test_a_server_that_is_slow_for_one_request_has_no_capacity() -> None:
    async def attempt(rate: float) -> Trial:
        return Trial(rate, 0.0, False, 1.0)

    found = asyncio.run(find_capacity(attempt, 100.0))
    assert (found.rate, found.high) == (0.0, LEAST_RATE)


def test_a_server_that_cannot_be_overloaded_ends_the_search() -> None:
    async def attempt(rate: float) -> Trial:
        return Trial(rate, 1.0, False, 1.0)

    found = asyncio.run(find_capacity(attempt, 100.0))
    assert (found.rate, found.high) == (MOST_RATE, None)


@pytest.mark.parametrize("limit", [100.0, 300.0])
def test_a_generator_at_its_limit_ends_the_search_and_is_said(limit: float) -> None:
    """Wherever in the search it is met; what was kept by then is what is known."""

    async def attempt(rate: float) -> Trial:
        return Trial(rate, 0.0 if rate > limit else 1.0, limit < rate < 1000 and rate != 512, 1.0)

    found = asyncio.run(find_capacity(attempt, 100.0))
    assert found.generator_limited
    assert found.trials[-1].generator_limited
    assert (found.rate, found.high) == (max(trial.rate for trial in found.trials if trial.passed), None)


def test_a_belief_moves_to_where_the_trials_point() -> None:
    belief = Belief(10.0, 1000.0)
    assert belief.quantile(0.5) == pytest.approx(100.0, rel=0.02)
    belief.update(Trial(100.0, 0.9, False, 1.0))
    # Nine tenths of the belief lie above 100, evenly by ratio: the median is 5/9 of the way down from 1000.
    assert belief.quantile(0.5) == pytest.approx(1000 * 10 ** (-5 / 9), rel=0.02)
    for _ in range(10):
        belief.update(Trial(300.0, 0.0, False, 1.0))
        belief.update(Trial(250.0, 1.0, False, 1.0))
    low, high = belief.interval()
    assert 250 <= low < high <= 300
