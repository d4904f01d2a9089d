"""Timing of contenders that do the same work, where calls take from a tenth of a millisecond to seconds."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.rounds import Report, in_turns, timed


@dataclass(frozen=True)
class Pace:
    """How long to measure.

    Attributes:
        rounds: turns of each contender.
        turn_s: a contender is called again in its turn until so much time has passed, once at least.
    """

    rounds: int
    turn_s: float


def milliseconds(
    contenders: Mapping[str, Callable[[], object]], pace: Pace, device: torch.device, report: Report
) -> dict[str, float]:
    """Time contenders in turns: by name, the median turn's median call.

    The first calls of a turn find caches and sleeping threads as the contender before has left them; the
    median passes over them wherever a turn has several calls.
    """
    for run in contenders.values():
        run()
    turns = {name: _turn(timed(run, device), pace.turn_s) for name, run in contenders.items()}
    seconds = in_turns(turns, pace.rounds, report)
    return {name: 1000 * statistics.median(taken) for name, taken in seconds.items()}


def _turn(call: Callable[[], float], turn_s: float) -> Callable[[], float]:
    def median_call() -> float:
        end, taken = time.perf_counter() + turn_s, [call()]
        while time.perf_counter() < end:
            taken.append(call())
        return statistics.median(taken)

    return median_call


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let torch compute on n threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
