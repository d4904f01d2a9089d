import pytest
from pydantic import TypeAdapter

from loadtest.answers import Operation
from loadtest.capacity import Capacity, Trial
from loadtest.open_runs import CapacityRun
from loadtest.pages import capacity_page, report_page
from loadtest.recorder import Recorder
from loadtest.report import Report, summarise
from loadtest.slo import CAPACITY_SLO, LatencyLimits, Slo
from loadtest.tables import capacity_sentence, print_capacity, print_report, print_trial
from tests.loadtest.test_recorder import answer

SLO = Slo(search=LatencyLimits(p99_ms=1))
KEPT = Trial(64.0, 0.9, generator_limited=False, seconds=1.0)
MISSED = Trial(128.0, 0.1, generator_limited=False, seconds=1.0)


def report(latency_ms: float | None, cpu_share: float = 0.1, slo: Slo = SLO) -> Report:
    recorder = Recorder()
    outcome = answer() if latency_ms is not None else "status <429>"
    recorder.add(Operation.SEARCH, 0.0, latency_ms or 0.5, outcome)
    return summarise(
        recorder, slo, url="http://shop", loop="open", load="64 requests/s", seconds=1.0, cpu_share=cpu_share
    )


@pytest.mark.parametrize("cpu_share", [0.1, 0.99])
def test_a_report_says_when_the_generator_itself_was_slow(
    capsys: pytest.CaptureFixture[str], cpu_share: float
) -> None:
    print_report(report(None, cpu_share))
    printed = capsys.readouterr().out
    assert ("it was not on time" in printed) is (cpu_share > 0.9)
    assert "errors: status <429> × 1" in printed
    assert "✗ search p99_ms – (limit ≤ 1)" in printed
    assert "SLO missed" in printed


@pytest.mark.parametrize(
    ("capacity", "said"),
    [
        (Capacity(212.4, 201.0, 224.0, False, [KEPT, MISSED]), "212.4 requests/s (90% interval 201 to 224"),
        (Capacity(64.0, 64.0, None, False, [KEPT]), "at least 64 requests/s; there was no time to try more"),
        (Capacity(64.0, 64.0, None, True, [KEPT, MISSED]), "at least 64 requests/s; above, this load gen"),
        (Capacity(0.0, 0.0, 128.0, False, [MISSED]), "no capacity: the SLO is missed at 128 requests/s"),
    ],
)
def test_a_capacity_is_said_with_what_is_known_of_it(capacity: Capacity, said: str) -> None:
    assert said in capacity_sentence(capacity)


def test_a_capacity_is_shown_with_what_was_measured_there(capsys: pytest.CaptureFixture[str]) -> None:
    run = CapacityRun(Capacity(70.0, 66.0, 74.0, False, [KEPT, MISSED]), [report(0.7), report(9.0)], SLO)
    print_capacity(run, "http://shop")
    print_trial(MISSED, report(9.0))
    printed = capsys.readouterr()
    assert "the SLO is kept at 64 requests/s" in printed.out
    assert "✓ search p99_ms 0.7000 (limit ≤ 1)" in printed.out
    assert printed.out.endswith("SLO met\n")
    assert "missed (sure to 90%); search p99 9.0 ms" in printed.err


def test_a_goodput_is_held_against_the_capacity() -> None:
    capacity = Capacity(70.0, 66.0, 74.0, False, [KEPT, MISSED])
    for goodput, met in ((1.0, True), (1.5, False)):
        slo = SLO.model_copy(update={"goodput": goodput})
        assert CapacityRun(capacity, [report(0.7), report(9.0)], slo).met is met


def test_without_a_capacity_the_slo_is_missed_and_the_lowest_rate_says_why() -> None:
    capacity = Capacity(0.0, 0.0, 64.0, False, [MISSED, Trial(64.0, 0.0, False, 1.0)])
    run = CapacityRun(capacity, [report(9.0), report(3.0)], SLO)
    assert not run.met
    assert run.judgements[0].measured == 3.0
    assert run.document()["at_capacity"] is None


def test_what_is_written_as_json_is_json() -> None:
    run = CapacityRun(Capacity(70.0, 66.0, 74.0, False, [KEPT, MISSED]), [report(0.7), report(None)], SLO)
    document = TypeAdapter(dict[str, object]).dump_json(run.document())
    assert b'"capacity":{"rate":70.0,"low":66.0,"high":74.0' in document


@pytest.mark.parametrize("latency_ms", [0.7, 9.0, None])
def test_a_page_tells_the_verdict_and_what_led_to_it(latency_ms: float | None) -> None:
    page = report_page(report(latency_ms), {"rate": 64.0})
    assert ("The SLO is met." in page) is (latency_ms == 0.7)
    assert ("status &lt;429&gt;" in page) is (latency_ms is None)
    assert "search p99_ms" in page
    assert page.count("<svg") == 3


def test_a_page_of_a_capacity_shows_every_trial() -> None:
    run = CapacityRun(
        Capacity(70.0, 66.0, 74.0, False, [KEPT, MISSED]), [report(0.7), report(None)], CAPACITY_SLO
    )
    page = capacity_page(run, "http://shop", {"seed": 0})
    assert "Capacity: 70 requests/s (90% interval 66 to 74, 2 trials)." in page
    assert ">kept<" in page
    assert ">missed<" in page
    assert page.count("<svg") == 4
