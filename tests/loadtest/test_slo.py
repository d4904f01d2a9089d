from pathlib import Path

import pytest

from loadtest.errors import LoadtestError
from loadtest.recorder import SEARCH, Measurement, Report
from loadtest.slo import Slo, judge, load_slo

SEARCHES = Measurement(
    endpoint=SEARCH, requests=100, errors=2, rate=49.0, p50_ms=5, p95_ms=9, p99_ms=12, max_ms=13
)


def report(*endpoints: Measurement) -> Report:
    return Report(
        url="http://shop",
        users=1,
        seconds=2,
        endpoints=list(endpoints),
        errors={},
        variants={},
        degraded={},
        generator_busy=False,
    )


def test_an_slo_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text("p99_ms = 150\nerror_share = 0.0\nmin_rate = 40.5\n")
    assert load_slo(path) == Slo(p99_ms=150, error_share=0.0, min_rate=40.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("p99 = 150", "p99: Extra inputs are not permitted; the keys are p50_ms, p95_ms"),
        ("p99_ms = 'fast'", "p99_ms: Input should be a valid number"),
        ("p99_ms = 0", "p99_ms: Input should be greater than 0"),
        ("error_share = 2", "error_share: Input should be less than or equal to 1"),
        ("p99_ms =", "is not TOML"),
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


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        (Slo(p50_ms=5, p95_ms=9, p99_ms=12, error_share=0.02, min_rate=49), True),
        (Slo(p50_ms=4.9, error_share=1), False),
        (Slo(p95_ms=8.9, error_share=1), False),
        (Slo(p99_ms=11.9, error_share=1), False),
        (Slo(error_share=0.019), False),
        (Slo(min_rate=49.1, error_share=1), False),
    ],
)
def test_limits_hold_up_to_and_including_their_value(slo: Slo, met: bool) -> None:
    assert all(judgement.met for judgement in judge(slo, report(SEARCHES))) is met


def test_only_limits_that_are_set_are_judged() -> None:
    assert [judgement.name for judgement in judge(Slo(p95_ms=10), report(SEARCHES))] == [
        "p95_ms",
        "error_share",
    ]


def test_errors_of_any_endpoint_count() -> None:
    failing = SEARCHES.model_copy(update={"endpoint": "/v1/events", "errors": 100})
    assert judge(Slo(), report(SEARCHES, failing))[0].measured == pytest.approx(0.51)


def test_nothing_measured_is_nothing_kept() -> None:
    judgements = judge(Slo(p50_ms=1e9, min_rate=1e-9), report())
    assert [(judgement.measured, judgement.met) for judgement in judgements] == [(None, False)] * 3
