from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import Operation
from loadtest.errors import LoadtestError
from loadtest.slo import LatencyLimits, Slo, goodput, judge, load_slo, percentile
from tests.loadtest.recorded import requests

LATENCIES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_the_least_latency_that_so_many_do_not_exceed(
    latencies: list[float], share: float
) -> None:
    found = percentile(np.array(latencies), share)
    within = [
        latency for latency in sorted(set(latencies)) if np.mean(np.array(latencies) <= latency) >= share
    ]
    assert found == within[0]


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile(np.empty(0), 0.5) is None


def test_an_slo_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(
        "error_share = 0.0\ndegraded_share = 0.1\ngoodput = 40.5\ngood_ms = 100\n"
        "[search]\np50_ms = 20\np99_ms = 150.5\n[batch]\np95_ms = 300\n"
    )
    assert load_slo(path) == Slo(
        error_share=0.0,
        degraded_share=0.1,
        goodput=40.5,
        good_ms=100,
        search=LatencyLimits(p50_ms=20, p99_ms=150.5),
        batch=LatencyLimits(p95_ms=300),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("p99_ms = 150", "p99_ms: Extra inputs are not permitted; the keys are error_share, degraded_share"),
        (
            "[search]\np99 = 1",
            "search.p99: Extra inputs are not permitted; the keys are p50_ms, p95_ms, p99_ms",
        ),
        ("[search]\np99_ms = 'fast'", "search.p99_ms: Input should be a valid number"),
        ("[event]\np99_ms = 0", "event.p99_ms: Input should be greater than 0"),
        ("error_share = 2", "error_share: Input should be less than or equal to 1"),
        ("goodput =", "is not TOML"),
    ],
)
def test_a_bad_slo_is_refused_with_its_key(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(content)
    with pytest.raises(LoadtestError) as caught:
        load_slo(path)
    assert message in str(caught.value)


def test_a_missing_slo_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError, match=r"Cannot read .*slo\.toml"):
        load_slo(tmp_path / "slo.toml")


HUNDRED = requests(
    range(1, 101),
    failed=[latency in (1, 100) for latency in range(1, 101)],
    degraded=[latency == 2 for latency in range(1, 101)],
)
"""2 of 100 failed; the others took 2 to 99 ms, and one of them is degraded."""


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(search=LatencyLimits(p50_ms=50, p95_ms=95, p99_ms=99), error_share=0.02), True),
        (Slo(search=LatencyLimits(p50_ms=49), error_share=1), False),
        (Slo(search=LatencyLimits(p95_ms=94), error_share=1), False),
        (Slo(search=LatencyLimits(p99_ms=98), error_share=1), False),
        (Slo(filter=LatencyLimits(p99_ms=1000), error_share=1), False),
        (Slo(error_share=0.019), False),
        (Slo(degraded_share=1 / 98, error_share=1), True),
        (Slo(degraded_share=0.01, error_share=1), False),
        (Slo(goodput=98 / 10, error_share=1), True),
        (Slo(goodput=9.9, error_share=1), False),
        (Slo(goodput=4.9, good_ms=50, error_share=1), True),
        (Slo(goodput=4.9, good_ms=49, error_share=1), False),
    ],
)
def test_limits_hold_up_to_and_including_their_value(slo: Slo, met: bool) -> None:
    assert all(judgement.met for judgement in judge(slo, HUNDRED, seconds=10)) is met


def test_only_limits_that_are_set_are_judged() -> None:
    judged = judge(Slo(search=LatencyLimits(p95_ms=10)), HUNDRED, 10)
    assert [judgement.name for judgement in judged] == ["search p95_ms", "error_share"]


def test_nothing_measured_is_nothing_kept() -> None:
    slo = Slo(event=LatencyLimits(p50_ms=1e9), degraded_share=1.0, goodput=1e-9)
    assert not any(judgement.met for judgement in judge(slo, requests([]), 1))


def test_goodput_is_of_searches_with_and_without_filters() -> None:
    for operation, expected in (
        (Operation.SEARCH, 2.0),
        (Operation.FILTER, 2.0),
        (Operation.BATCH, 0.0),
        (Operation.EVENT, 0.0),
    ):
        assert goodput(Slo(), requests([1, 2, 3, 4], operation=operation), 2) == expected
