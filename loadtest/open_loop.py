"""The open loop: requests arrive when they are due, whether the server keeps up or not.

Latencies count from when a request was due. A server that stalls is charged with the wait of everyone who
came meanwhile, and a generator that stalls cannot hide it either: its lateness is kept beside.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from loadtest.answers import Answer, Request, read_answer
from loadtest.recorder import Recorder
from loadtest.visits import Shopper, Shoppers

MAX_IN_FLIGHT = 2000
"""Requests without an answer at which the next ones are not sent, and count as errors."""

MAX_LATENESS_S = 2.0
"""A request that could not be sent for so long is not sent, and counts as an error."""

KEEP_ALIVE_S = 3.0
"""An idle connection is closed before servers usually do it, so that none goes while a request is sent."""


@dataclass(frozen=True)
class Exchange:
    """A request and its times, by ``time.perf_counter``.

    Attributes:
        request: what is sent.
        due: when it should be sent.
        sent: when it was.
    """

    request: Request
    due: float
    sent: float

    def record(self, recorder: Recorder, zero: float, done: float, outcome: Answer | str) -> None:
        """Hand it to a recorder whose time begins at ``zero``; what was due before is warm-up."""
        if self.due >= zero:
            recorder.add(
                self.request.operation,
                due_s=self.due - zero,
                latency_ms=1000 * (done - self.due),
                outcome=outcome,
                lateness_ms=1000 * (self.sent - self.due),
            )


class OpenLoop:
    """Sends what shoppers do, at given times, over as many connections as it takes.

    Each arrival is the next step of a shopper who waits for no answer; where all wait, another shopper comes.
    So the load does not depend on the answers, while clicks and filters still follow from them.

    Args:
        url: of the server.
        key: bearer key, or None.
        shoppers: whose visits are made.
    """

    def __init__(self, url: str, key: str | None, shoppers: Shoppers) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._shoppers = shoppers
        self._idle: list[Shopper] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            self._url,
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def run(
        self,
        arrivals: Iterable[float],
        recorder: Recorder,
        *,
        warm_up_s: float,
        timeout_s: float,
        hopeless_at: int | None = None,
    ) -> None:
        """Send requests at their times and wait for their answers.

        Args:
            arrivals: when each is due, seconds from now, ascending.
            recorder: takes those that are due after the warm-up.
            warm_up_s: seconds from now whose requests are not recorded.
            timeout_s: after which a request without an answer is an error.
            hopeless_at: requests without an answer at which the rest is neither sent nor recorded.
        """
        start = time.perf_counter()
        zero = start + warm_up_s
        in_flight: set[asyncio.Task[None]] = set()
        for arrival in arrivals:
            due = start + arrival
            ahead = due - time.perf_counter()
            if ahead > -MAX_LATENESS_S:
                await asyncio.sleep(max(ahead, 0))
            if hopeless_at is not None and len(in_flight) >= hopeless_at:
                break
            shopper = self._idle.pop() if self._idle else Shopper(self._shoppers)
            exchange = Exchange(shopper.next_request(), due, time.perf_counter())
            if obstacle := _obstacle(exchange, len(in_flight)):
                shopper.take(None)
                self._idle.append(shopper)
                exchange.record(recorder, zero, exchange.sent, obstacle)
                continue
            task = asyncio.create_task(self._send(shopper, exchange, recorder, zero, timeout_s))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        await asyncio.gather(*in_flight)

    async def _send(
        self, shopper: Shopper, exchange: Exchange, recorder: Recorder, zero: float, timeout_s: float
    ) -> None:
        request, timeout = exchange.request, aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(request.path, json=request.body, timeout=timeout) as response:
                body = await response.read()
            done = time.perf_counter()
            outcome = read_answer(request.operation, response.status, body)
        except (aiohttp.ClientError, TimeoutError) as error:
            done = time.perf_counter()
            outcome = f"no answer: {type(error).__name__}"
        exchange.record(recorder, zero, done, outcome)
        shopper.take(None if isinstance(outcome, str) else outcome)
        self._idle.append(shopper)


def _obstacle(exchange: Exchange, n_in_flight: int) -> str | None:
    """Why a request is not sent; None where it is."""
    if n_in_flight >= MAX_IN_FLIGHT:
        return f"not sent: {MAX_IN_FLIGHT:,} without an answer"
    if exchange.sent - exchange.due > MAX_LATENESS_S:
        return "not sent: the load generator was too late"
    return None
