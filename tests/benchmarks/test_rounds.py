"""Contenders take turns."""

from collections.abc import Callable

import torch

from benchmarks.rounds import in_turns, per_second, timed


def test_every_contender_runs_once_per_round_and_first_in_turn() -> None:
    calls: list[str] = []
    reports: list[str] = []

    def contender(name: str) -> Callable[[], float]:
        def run() -> float:
            calls.append(name)
            return float(len(calls))

        return run

    seconds = in_turns({name: contender(name) for name in "abc"}, 4, reports.append)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert (reports[0], reports[-1]) == ("Round 1 of 4: a", "Round 4 of 4: c")
    assert seconds == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}


def test_what_is_timed_runs_once() -> None:
    calls: list[int] = []
    assert timed(lambda: calls.append(1), torch.device("cpu"))() >= 0
    assert calls == [1]


def test_throughput_is_that_of_the_median_round() -> None:
    assert per_second(6, [1.0, 2.0, 100.0]) == 3.0
