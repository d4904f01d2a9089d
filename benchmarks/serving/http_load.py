"""A load generator that costs little: prebuilt requests, raw sockets, one event loop or none."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

HEADER_END = b"\r\n\r\n"
LENGTH = b"content-length:"
CHUNK = 65_536


class Reply(NamedTuple):
    """One answer.

    Attributes:
        status: of HTTP; 0 where the connection broke.
        seconds: from when it was due to when it was complete.
        body: the whole.
    """

    status: int
    seconds: float
    body: bytes


@dataclass(frozen=True)
class Load:
    """What became of the requests of one load.

    Attributes:
        replies: in the order in which they were complete.
        seconds: from the first request to the last answer.
    """

    replies: Sequence[Reply]
    seconds: float

    def latencies(self, status: int = 200) -> NDArray[np.float64]:
        """Seconds of the answers of a status."""
        return np.array([reply.seconds for reply in self.replies if reply.status == status])

    def count(self, status: int) -> int:
        """How many answers have a status."""
        return sum(reply.status == status for reply in self.replies)

    @property
    def rate(self) -> float:
        """Answers of status 200 per second."""
        return self.count(200) / self.seconds


def search_request(query: str) -> bytes:
    """A search as it goes over the wire."""
    body = json.dumps({"query": query, "user_id": "bench"}).encode()
    head = (
        "POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _answer_in(received: bytearray) -> tuple[int, bytes] | None:
    """Status and body of the answer that was received; None if it is not complete."""
    end = received.find(HEADER_END)
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    start = head.index(LENGTH) + len(LENGTH)
    length = int(head[start : head.find(b"\r", start) if b"\r" in head[start:] else None])
    body = bytes(received[end + len(HEADER_END) :])
    return (int(head[9:12]), body) if len(body) >= length else None


class LoneClient:
    """Sends one request at a time, and waits for its answer in the kernel.

    An event loop of its own would be measured along with the service.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> Reply:
        """The answer to a request; blocks."""
        began = time.perf_counter()
        self._socket.sendall(request)
        received = bytearray()
        while (answer := _answer_in(received)) is None:
            data = self._socket.recv(CHUNK)
            if not data:
                return Reply(0, time.perf_counter() - began, b"")
            received += data
        return Reply(answer[0], time.perf_counter() - began, answer[1])

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class _Connection(asyncio.Protocol):
    """One request after the other over one connection."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has another base

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set_result(None)
        self._finish(0, b"")

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = _answer_in(self._received)
        if answer is not None:
            self._received.clear()
            self._finish(*answer)

    def _finish(self, status: int, body: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, body))

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """The status of the answer, and its body."""
        self._waiting = asyncio.get_running_loop().create_future()
        if self._transport is None:
            return 0, b""
        self._transport.write(request)
        return await self._waiting

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._lost


class Client:
    """Sends requests to a service on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Connection] = []

    async def send(self, request: bytes, due: float) -> Reply:
        """Send one request over a connection that is free, or a new one.

        Args:
            request: the whole, as it goes over the wire.
            due: when it should have been sent, by time.perf_counter; latency counts from then.
        """
        connection = await self._connection()
        status, body = await connection.send(request)
        if connection.is_open:
            self._idle.append(connection)
        return Reply(status, time.perf_counter() - due, body)

    async def closed_loop(self, requests: Iterator[bytes], clients: int, seconds: float) -> Load:
        """Let some clients send their next request as soon as they have an answer."""
        began = time.perf_counter()
        replies: list[Reply] = []

        async def client() -> None:
            while time.perf_counter() < began + seconds:
                replies.append(await self.send(next(requests), time.perf_counter()))

        await asyncio.gather(*(client() for _ in range(clients)))
        return Load(replies, time.perf_counter() - began)

    async def open_loop(self, requests: Iterator[bytes], rate: float, seconds: float, seed: int) -> Load:
        """Send requests at the times of a Poisson process, whether the service keeps up or not."""
        rng = np.random.default_rng(seed)
        due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds))).tolist()
        began = time.perf_counter()
        tasks = []
        for at in due:
            ahead = began + at - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.append(asyncio.create_task(self.send(next(requests), began + at)))
        replies = await asyncio.gather(*tasks)
        return Load(replies, time.perf_counter() - began)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(connection.close() for connection in self._idle))

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
        return connection
