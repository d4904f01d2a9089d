"""How far the event loop is behind with its work."""

import asyncio
import time
from collections import deque

TICK_S = 0.02
SUSTAINED = 4  # turns in a row; one that takes long by itself says nothing
TURNS = 8  # of the loop, from the first byte of a search to the last of its answer


class LoopLag:
    """Measures the time that what is ready waits for its turn on the running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lags = deque([0.0], maxlen=SUSTAINED)
        # Not the loop's clock: uvloop's counts whole milliseconds.
        self._due = time.perf_counter() + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)

    @property
    def per_search_s(self) -> float:
        """What a search waits for the loop from its beginning to its end, if it stays as it is."""
        return TURNS * min(self._lags)

    def close(self) -> None:
        """Measure no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + TICK_S
        self._timer = self._loop.call_later(TICK_S, self._tick)
