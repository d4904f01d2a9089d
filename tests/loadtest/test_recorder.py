import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import SearchAnswer
from loadtest.recorder import SEARCH, Recorder, quantile

LATENCIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_quantile_agrees_with_numpy(latencies: list[float], q: float) -> None:
    assert quantile(sorted(latencies), q) == np.quantile(latencies, q, method="inverted_cdf")


def test_quantile_of_nothing_is_none() -> None:
    assert quantile([], 0.5) is None


def answer(variant: str, degraded: list[str]) -> SearchAnswer:
    return SearchAnswer(request_id="r", variant=variant, items=[], degraded=degraded)


def test_a_report_counts_what_happened() -> None:
    recorder = Recorder()
    for latency, variant, degraded in [
        (10.0, "sft", []),
        (30.0, "sft", ["redis"]),
        (20.0, "rad-dpo", ["redis"]),
    ]:
        context = {"answer": answer(variant, degraded)}
        recorder.on_request(name=SEARCH, response_time=latency, exception=None, context=context)
    for kind, name in [("status 429", SEARCH), ("status 429", "/v1/events"), ("no answer: OSError", SEARCH)]:
        recorder.on_request(name=name, response_time=0.1, exception=ValueError(kind), context={})

    report = recorder.report("http://shop", users=2, seconds=2.0, generator_busy=False)

    assert report.requests == 6
    assert report.error_share == 0.5
    assert report.errors == {"status 429": 2, "no answer: OSError": 1}
    assert report.variants == {"sft": 2, "rad-dpo": 1}
    assert report.degraded == {"redis": 2}
    assert report.search is not None
    search = report.search.model_dump()
    assert search == {
        "endpoint": SEARCH,
        "requests": 5,
        "errors": 2,
        "rate": 1.5,
        "p50_ms": 20.0,
        "p95_ms": 30.0,
        "p99_ms": 30.0,
        "max_ms": 30.0,
    }


def test_a_test_without_requests_has_no_figures() -> None:
    report = Recorder().report("http://shop", users=1, seconds=1.0, generator_busy=False)
    assert (report.requests, report.error_share, report.search) == (0, None, None)


def test_a_failed_request_has_no_latency() -> None:
    recorder = Recorder()
    recorder.on_request(name=SEARCH, response_time=0.1, exception=ValueError("status 500"), context={})
    search = recorder.report("http://shop", users=1, seconds=1.0, generator_busy=False).search
    assert search is not None
    assert (search.rate, search.p50_ms, search.max_ms) == (pytest.approx(0.0), None, None)
