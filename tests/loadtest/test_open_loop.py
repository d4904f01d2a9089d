"""The open loop against real servers."""

import asyncio
import random

import numpy as np

from loadtest.arrivals import poisson_arrivals
from loadtest.evidence import probability_kept
from loadtest.open_loop import OpenLoop
from loadtest.open_runs import run_at_rate
from loadtest.recorder import Recorder, Requests
from loadtest.report import Report
from loadtest.settings import LoadtestSettings
from loadtest.shapes import constant
from loadtest.slo import LatencyLimits, Slo
from loadtest.visits import Shoppers

SEARCHES = {"filters": 0.0, "batches": 0.0, "clicks": 0.0}


def send(
    url: str, arrivals: list[float], timeout_s: float = 10.0, hopeless_at: int | None = None
) -> Requests:
    async def sent() -> Requests:
        recorder = Recorder()
        async with OpenLoop(url, None, Shoppers(LoadtestSettings(**SEARCHES))) as loop:
            await loop.run(arrivals, recorder, warm_up_s=0.0, timeout_s=timeout_s, hopeless_at=hopeless_at)
        return recorder.requests()

    return asyncio.run(sent())


def test_a_stall_is_charged_with_everyone_who_came_meanwhile(stalling_url: str) -> None:
    """Of the requests of a second those that come in its stalled 0.4 s wait, half of it in the mean.

    A closed loop of one client would see one slow request in each second and hide the others.
    """
    arrivals = list(poisson_arrivals(200.0, 2.0, constant, random.Random(0)))
    requests = send(stalling_url, arrivals)
    assert len(requests) == len(arrivals)
    assert not requests.failed.any()
    share_that_waited = (requests.latency_ms > 20).mean()
    assert share_that_waited > 0.25
    assert np.quantile(requests.latency_ms, 0.9) > 200


def test_an_overloaded_server_gets_what_is_due_and_latencies_grow(slow_url: str) -> None:
    """200 requests in one second, of which it answers 100: the last one waits for a second more."""
    arrivals = [n / 200 for n in range(200)]
    requests = send(slow_url, arrivals)
    np.testing.assert_allclose(requests.due_s, arrivals, atol=1e-6)
    last = requests.where(requests.due_s > 0.9)
    assert last.latency_ms.min() > 800


def test_a_request_without_an_answer_in_time_is_an_error(slow_url: str) -> None:
    requests = send(slow_url, [0.0] * 60, timeout_s=0.3)
    assert requests.failed.sum() > 20
    assert requests.answered.latency_ms.max() < 400


def test_a_hopeless_load_is_given_up(slow_url: str) -> None:
    requests = send(slow_url, [n / 1000 for n in range(1000)], timeout_s=2.0, hopeless_at=30)
    assert 30 <= len(requests) < 500


def test_requests_that_are_sent_late_are_counted_from_when_they_were_due(silent_url: str) -> None:
    """All are due at once, in the past: what the generator needs to send them is part of the latency."""
    requests = send(silent_url, [0.0] * 500)
    assert np.all(requests.latency_ms > requests.lateness_ms)
    assert np.all(np.diff(np.sort(requests.lateness_ms)) >= 0)
    assert requests.lateness_ms.max() > 1
    slo = Slo(search=LatencyLimits(p99_ms=float(requests.lateness_ms.max()) / 2))
    assert probability_kept(slo, requests) < 0.5


def at_rate(url: str, rate: float, seconds: float, **settings: object) -> Report:
    return asyncio.run(
        run_at_rate(LoadtestSettings(url=url, **settings), Slo(), rate, seconds)  # type: ignore[arg-type]
    )


def test_a_run_goes_up_in_steps_to_its_rate(shop_url: str) -> None:
    """In 2 s the steps are 0.4 s long, so the seconds have 0.36 and 0.84 of the rate in the mean."""
    report = at_rate(shop_url, 200.0, 2.0, shape="steps")
    assert [window.seconds for window in report.timeline] == [1, 1]
    for window, expected in zip(report.timeline, (72, 168), strict=True):
        assert abs(window.requests - expected) < 4 * expected**0.5
    assert report.met
    assert {line.operation for line in report.operations} >= {"search", "filter", "event"}
    assert set(report.variants) == {"sft", "rad-dpo"}


def test_a_rate_that_no_generator_can_send_is_its_own_limit(silent_url: str) -> None:
    report = at_rate(silent_url, 200_000.0, 0.3, **SEARCHES)
    assert report.generator.limited
    assert set(report.errors) & {
        "not sent: 2,000 without an answer",
        "not sent: the load generator was too late",
    }
    assert sum(line.requests for line in report.operations) > 50_000
