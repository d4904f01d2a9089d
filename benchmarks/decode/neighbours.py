"""How much of the machine others took while something was measured."""

import os
import time
from collections.abc import Callable
from pathlib import Path

WORKING = (0, 1, 2, 5, 6)  # columns of /proc/stat: user, nice, system, irq, softirq; see man 5 proc


def watch_others() -> Callable[[], float | None]:
    """Begin to watch.

    Returns:
        What tells how many cores other processes have kept busy since, on average; None where the system does
        not say.
    """
    started, busy, own = time.perf_counter(), _busy_s(), _own_s()

    def cores() -> float | None:
        now = _busy_s()
        if busy is None or now is None:
            return None
        return max(0.0, now - busy - (_own_s() - own)) / (time.perf_counter() - started)

    return cores


def _busy_s() -> float | None:
    """Time that all cores have worked, in seconds."""
    try:
        columns = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    return sum(int(columns[column]) for column in WORKING) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    """Time that this process and those it has waited for have worked, in seconds."""
    return sum(os.times()[:4])
