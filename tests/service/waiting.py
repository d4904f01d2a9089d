"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds."""
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")
