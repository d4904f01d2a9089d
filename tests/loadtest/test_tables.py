import pytest

from loadtest.recorder import SEARCH, Recorder
from loadtest.slo import Slo, judge
from loadtest.tables import print_report


@pytest.mark.parametrize("busy", [True, False])
def test_a_report_says_when_the_generator_itself_was_slow(
    capsys: pytest.CaptureFixture[str], busy: bool
) -> None:
    recorder = Recorder()
    recorder.on_request(name=SEARCH, response_time=1.0, exception=ValueError("status 429"), context={})
    report = recorder.report("http://shop", users=1, seconds=1.0, generator_busy=busy)
    print_report(report, judge(Slo(p99_ms=1), report))
    printed = capsys.readouterr().out
    assert ("short of CPU time" in printed) is busy
    assert "errors: status 429 × 1" in printed
    assert "✗ p99_ms – (limit ≤ 1)" in printed
