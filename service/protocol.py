"""HTTP/1.1 as uvicorn speaks it, with bounds on what a client may take its time for.

uvicorn with httptools reads a header of any size for any time, keeps an answer for a client that does not
read it, takes every connection there is, says "Service Unavailable" in plain text, and loses the body of a
request that offers to go on with HTTP/2, as every first one of Java's client does. What is refused
here never becomes a request: the application does not see it and the access log has no line of it, the
counter ``radsearch_connections_refused`` has. A slow body is the middleware's: it can answer like a request.
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.metrics import Metrics
from service.problems import MEDIA_TYPE, document

MAX_HEADER_BYTES = 32_768  # as nginx takes: 4 buffers of 8 KiB
SWEEP_EVERY_S = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClientLimits:
    """What clients get.

    Attributes:
        max_connections: open at once.
        client_timeout_s: for a header to arrive, and for an answer to be taken.
    """

    max_connections: int
    client_timeout_s: float


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A sweep over all of them, not timers of each, finds those that are late."""

    def __init__(
        self,
        limits: ClientLimits,
        metrics: Metrics,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._refused = metrics.connections_refused
        self._header_since: float | None = None  # a header is awaited
        self._header_began = False
        self._cycles: list[
            RequestResponseCycle
        ] = []  # requests, the pipelined ones too, that are not answered
        self._unsent_since: float | None = None  # the client has not taken what it was sent
        self._is_over = False  # what comes is not read any more
        self._header_bytes = 0  # of fields that are complete
        self._idle_bytes = 0  # came in since the last thing that was complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away where there are too many."""
        super().connection_made(transport)
        self._header_since = self.loop.time()
        if len(self.connections) > self._limits.max_connections:
            detail = (
                f"{self._limits.max_connections:,} connections are open; come back or ask another replica"
            )
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too-many-connections", detail, {"Retry-After": "1"})

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request, where uvicorn tells the last one, that its client is gone."""
        self._abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is at its end."""
        if self._is_over or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._idle_bytes += len(data)
        self._parse(data)
        if not self._is_answering:  # it is, or may become, the beginning of a request
            self._header_since = self._header_since or self.loop.time()
        if self._idle_bytes > MAX_HEADER_BYTES and not self._is_over:
            self.send_400_response("the header has no end")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._header_bytes = 0
        self._header_began = True
        self._header_since = self._header_since or self.loop.time()

    def on_url(self, url: bytes) -> None:
        """A part of the URL came."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the header, or of the trailer, came."""
        self._count_header(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be served, unless it is going to be read again without its offer to upgrade."""
        self._idle_bytes = 0
        if self.parser.should_upgrade():
            return
        self._header_since = None
        self._header_began = False
        # Done when the client leaves: a task per request that waits for the end would cost far more.
        self.scope["state"]["leaving"] = self.loop.create_future()
        super().on_headers_complete()
        self._cycles = [cycle for cycle in self._cycles if not cycle.response_complete] + [self.cycle]

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is at its end."""
        self._idle_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it, and close."""
        if max(self._header_bytes, self._idle_bytes) > MAX_HEADER_BYTES:
            detail = f"the header is larger than {MAX_HEADER_BYTES:,} bytes"
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header-too-large", detail)
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "malformed-http", msg)

    def look_after(self, now: float) -> None:
        """End the connection if the client has had its time.

        Args:
            now: on the event loop's clock.
        """
        unsent = self.transport.get_write_buffer_size() > 0
        self._unsent_since = (self._unsent_since or now) if unsent else None
        if self._is_late(self._unsent_since, now):
            self._refused.labels("not-reading").inc()
            self._abandon()
            self.transport.abort()
        elif self.transport.is_closing() or self._is_answering or not self._is_late(self._header_since, now):
            return
        elif self._header_began:
            detail = f"the header did not arrive within {self._limits.client_timeout_s:g} s"
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", detail)
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_late(self, since: float | None, now: float) -> bool:
        return since is not None and now - since > self._limits.client_timeout_s

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() == b"CONNECT":
                self.send_400_response("this is no proxy")
            else:
                self._read_again(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("the request is not HTTP/1.1")

    def _read_again(self, rest: bytes) -> None:
        """Decline an upgrade: read the request as if it had not offered one.

        Args:
            rest: what came after the header.
        """
        start = b"%s %s HTTP/%s" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        fields = [b"%s: %s" % field for field in self.headers if field[0] not in (b"connection", b"upgrade")]
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join([start, *fields, b"", rest]))

    def _count_header(self, n_bytes: int) -> None:
        self._idle_bytes = 0
        self._header_bytes += n_bytes
        if self._header_bytes > MAX_HEADER_BYTES:
            raise httptools.HttpParserError("the header is too large")

    def _refuse(
        self, status: HTTPStatus, kind: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a problem and close; if the answer to an earlier request is due, close after that."""
        self._refused.labels(kind).inc()
        self._is_over = True
        if self._is_answering and (self.cycle.response_started or not self.cycle.more_body):
            self.cycle.keep_alive = False
            return
        problem = document(status, kind, detail, uuid.uuid4().hex)
        body = problem.model_dump_json(exclude_defaults=True).encode()
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {MEDIA_TYPE}"]
        lines += [f"Content-Length: {len(body)}", f"X-Request-ID: {problem.request_id}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self._abandon()
        self.transport.close()

    def _abandon(self) -> None:
        """Let the requests that are not answered end as if their client had left."""
        for cycle in self._cycles:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                leaving: asyncio.Future[None] = cycle.scope["state"]["leaving"]
                if not leaving.done():
                    leaving.set_result(None)


async def look_after_clients(state: ServerState) -> None:
    """End connections whose clients have had their time, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_EVERY_S)
        now = loop.time()
        for connection in tuple(state.connections):
            if isinstance(connection, BoundedProtocol):
                connection.look_after(now)
