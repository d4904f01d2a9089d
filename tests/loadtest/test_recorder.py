import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import BatchAnswer, Operation, SearchAnswer
from loadtest.recorder import OPERATIONS, Recorder
from loadtest.report import MAX_WINDOWS, Generator, Report, summarise
from loadtest.slo import Slo


def answer(variant: str = "sft", degraded: tuple[str, ...] = ()) -> SearchAnswer:
    return SearchAnswer(request_id="r", variant=variant, items=[], degraded=list(degraded))


def report(recorder: Recorder, slo: Slo | None = None, seconds: float = 2.0) -> Report:
    return summarise(
        recorder, slo or Slo(), url="http://shop", loop="open", load="10/s", seconds=seconds, cpu_share=0.1
    )


def shop() -> Recorder:
    recorder = Recorder()
    recorder.add(Operation.SEARCH, 1.5, 10.0, answer())
    recorder.add(Operation.SEARCH, 0.5, 30.0, answer(degraded=("redis",)), lateness_ms=3.0)
    recorder.add(Operation.FILTER, 0.7, 20.0, answer("rad-dpo", ("redis", "beam")))
    recorder.add(Operation.BATCH, 0.9, 40.0, BatchAnswer(results=[answer()]))
    recorder.add(Operation.SEARCH, 1.1, 5.0, "status 429")
    recorder.add(Operation.EVENT, 1.2, 7.0, "status 429")
    recorder.add(Operation.EVENT, 1.3, 6.0, "no answer: TimeoutError")
    return recorder


def test_requests_come_in_the_order_in_which_they_were_due() -> None:
    requests = shop().requests()
    assert requests.due_s.tolist() == [0.5, 0.7, 0.9, 1.1, 1.2, 1.3, 1.5]
    assert requests.latency_ms.tolist() == [30, 20, 40, 5, 7, 6, 10]
    assert requests.failed.tolist() == [False, False, False, True, True, True, False]
    assert requests.degraded.tolist() == [True, True, False, False, False, False, False]
    assert requests.answered.searches.latency_ms.tolist() == [30, 20, 10]
    assert requests.counted_from_sending().latency_ms.tolist() == [27, 20, 40, 5, 7, 6, 10]


def test_a_report_counts_what_happened() -> None:
    found = report(shop(), Slo(good_ms=20))
    assert found.error_share == pytest.approx(3 / 7)
    assert found.degraded_share == pytest.approx(2 / 3)
    assert found.goodput == 1.0
    assert found.errors == {"status 429": 2, "no answer: TimeoutError": 1}
    assert found.variants == {"sft": 2, "rad-dpo": 1}
    assert found.degraded == {"redis": 2, "beam": 1}
    assert not found.met
    search = found.of(Operation.SEARCH)
    assert search is not None
    assert search.model_dump(exclude={"quantiles_ms", "operation"}) == {
        "requests": 3,
        "errors": 1,
        "rate": 1.0,
        "p50_ms": 10.0,
        "p95_ms": 30.0,
        "p99_ms": 30.0,
        "max_ms": 30.0,
    }
    event = found.of(Operation.EVENT)
    assert event is not None
    assert (event.rate, event.p50_ms, event.quantiles_ms) == (0.0, None, [])


def test_a_test_without_requests_has_no_figures() -> None:
    found = report(Recorder())
    assert (found.operations, found.error_share, found.degraded_share, found.goodput) == ([], None, None, 0.0)
    assert not found.met


@given(
    st.lists(st.tuples(st.floats(0, 200, exclude_max=True), st.booleans()), min_size=1, max_size=50),
    st.sampled_from([0.5, 7.0, 61.0, 200.0]),
)
def test_the_timeline_covers_the_time_once(requests: list[tuple[float, bool]], seconds: float) -> None:
    recorder = Recorder()
    inside = [(due * seconds / 200, failed) for due, failed in requests]
    for due, failed in inside:
        recorder.add(Operation.SEARCH, due, 1.0, "status 500" if failed else answer())
    timeline = report(recorder, seconds=seconds).timeline
    assert len(timeline) <= MAX_WINDOWS
    assert sum(window.seconds for window in timeline) == pytest.approx(seconds)
    assert sum(window.requests for window in timeline) == len(inside)
    assert sum(window.errors for window in timeline) == sum(failed for _, failed in inside)


def test_a_report_survives_json() -> None:
    found = report(shop())
    assert Report.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("cpu_share", "lateness_ms", "limited"), [(0.5, 5.0, False), (0.95, 5.0, True), (0.5, 15.0, True)]
)
def test_a_generator_that_is_busy_or_late_says_so(
    cpu_share: float, lateness_ms: float, limited: bool
) -> None:
    generator = Generator(cpu_share=cpu_share, lateness_p50_ms=0.1, lateness_p99_ms=lateness_ms)
    assert generator.limited is limited


def test_every_operation_has_its_column_value() -> None:
    recorder = Recorder()
    for operation in Operation:
        recorder.add(operation, 0.0, 1.0, "status 500")
    np.testing.assert_array_equal(recorder.requests().operation, range(len(OPERATIONS)))
