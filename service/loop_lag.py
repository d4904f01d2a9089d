"""How far the event loop is behind with its work."""

import asyncio
import time

TICK_S = 0.02


class LoopLag:
    """Measures the time that what is ready waits for its turn on the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._one_before = 0.0
        # Not the loop's clock: uvloop's counts whole milliseconds.
        self._due = time.perf_counter() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    @property
    def seconds(self) -> float:
        """What it waits turn after turn; one turn that takes long by itself says nothing."""
        return min(self._last, self._one_before)

    def close(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._last, self._one_before = max(0.0, now - self._due), self._last
        self._due = now + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)
