"""Time contenders in turns, so that whatever else the machine does meets all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Seconds = dict[str, list[float]]
Report = Callable[[str], None]  # is told what goes on


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int, report: Report) -> Seconds:
    """Run each contender once per round, in an order that moves on by one each round.

    Every contender should have run once before, so that no round pays for what is made on first use.

    Args:
        contenders: by name; each gives the seconds that it took, see :func:`timed`.
        rounds: how many.
        report: told who runs.

    Returns:
        Seconds of each round, by name.
    """
    names = list(contenders)
    seconds: Seconds = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            report(f"Round {number + 1} of {rounds}: {name}")
            seconds[name].append(contenders[name]())
    return seconds


def timed(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """Make a contender of what runs on a device; it ends when the device's queue is empty."""

    def measured() -> float:
        synchronise(device)
        started = time.perf_counter()
        run()
        synchronise(device)
        return time.perf_counter() - started

    return measured


def per_second(count: float, seconds: list[float]) -> float:
    """Throughput of the median round."""
    return count / statistics.median(seconds)


def synchronise(device: torch.device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
