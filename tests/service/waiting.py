"""Waiting for what other threads and processes do."""

import asyncio
import time
from collections.abc import Callable

LIMIT_S = 20


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as something holds."""
    end = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


async def eventually(holds: Callable[[], bool]) -> None:
    """The same on an event loop."""
    async with asyncio.timeout(LIMIT_S):
        while not holds():
            await asyncio.sleep(0.01)
