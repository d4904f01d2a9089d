"""Contenders take turns in which each is called as often as there is time."""

import time

import torch

from benchmarks.decode.cell import Pace, milliseconds, torch_threads

CPU = torch.device("cpu")


def test_who_is_faster_is_called_more_often() -> None:
    calls: list[str] = []

    def fast() -> None:
        calls.append("fast")

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.03)

    taken = milliseconds({"fast": fast, "slow": slow}, Pace(rounds=2, turn_s=0.02), CPU, lambda _: None)
    assert calls.count("slow") == 3  # once before, once in each turn
    assert calls.count("fast") > 3
    assert taken["slow"] >= 30
    assert 0 < taken["fast"] < taken["slow"]


def test_everybody_runs_before_anybody_is_timed() -> None:
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    milliseconds(contenders, Pace(rounds=2, turn_s=0.0), CPU, lambda _: None)
    assert "".join(calls) == "ab" + "ab" + "ba"


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(3):
        assert torch.get_num_threads() == 3
    assert torch.get_num_threads() == before
