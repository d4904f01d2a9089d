"""What others do is seen, and one's own work is not taken for theirs."""

import time

import pytest

from benchmarks.decode import neighbours
from benchmarks.decode.neighbours import watch_others


def work() -> float:
    """Keep one core busy for 0.3 s of its time; seconds on the clock."""
    started, end = time.perf_counter(), time.process_time() + 0.3
    while time.process_time() < end:
        pass
    return time.perf_counter() - started


def test_work_that_is_not_ones_own_is_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_own_s", lambda: 0.0)
    cores = watch_others()
    seconds = work()
    seen = cores()
    assert seen is not None
    assert seen * seconds > 0.2


def test_ones_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_busy_s", lambda: 100 + time.process_time())
    cores = watch_others()
    work()
    assert cores() == pytest.approx(0, abs=0.1)


def test_where_the_system_does_not_say_nobody_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_busy_s", lambda: None)
    assert watch_others()() is None
