"""Around every request: its id, its log line, its measurement, its size, and headers that browsers heed."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.connection import ClientGoneError
from service.metrics import Metrics
from service.problems import (
    BodyTooLargeError,
    ProblemError,
    RequestTimeoutError,
    document,
    error_document,
    respond,
)
from service.readiness import Readiness

CLIENT_CLOSED_REQUEST = 499  # nginx's number; nobody receives it, it stands in log and metrics
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUIET = frozenset({"/livez", "/readyz", "/metrics"})  # asked every few seconds, logged at debug
TOLD = (
    "variants",
    "degraded",
    "problem",
    "key",
)  # of a request's state, in its log line; no text of shoppers
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}
_ENCODED_SECURITY_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]

Header = tuple[bytes, bytes]

logger = logging.getLogger(__name__)


class RequestContext:
    """Gives each request an id, and the answer its headers; an unforeseen error becomes a bare 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics, readiness: Readiness) -> None:
        self._app = app
        self._metrics = metrics
        self._readiness = readiness
        self._ids = random.Random(secrets.token_bytes(32))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"{self._ids.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        token = logs.request_id.set(request_id)
        started = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._headers(request_id, message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientGoneError:
            status = CLIENT_CLOSED_REQUEST
        except Exception:
            logger.exception("unforeseen error")
            if status is not None:
                raise  # half an answer is out: the server breaks the connection
            problem = document(
                500, "internal", "an error of the service; its log names it by this id", request_id
            )
            await respond(problem)(scope, receive, send_with_headers)
        finally:
            self._account(scope, status or 500, time.perf_counter() - started)
            logs.request_id.reset(token)

    def _headers(self, request_id: str, own: Iterable[Header]) -> list[Header]:
        """An answer's own headers, and those that every answer has; where both name one, its own counts."""
        headers = list(own)
        named = {name for name, _ in headers}
        common = [(b"x-request-id", request_id.encode()), *_ENCODED_SECURITY_HEADERS]
        if self._readiness.is_draining:
            common.append((b"connection", b"close"))
        return headers + [header for header in common if header[0] not in named]

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.requests.labels(route, method, status).inc()
        line = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 2)}
        line |= {name: scope["state"][name] for name in TOLD if name in scope["state"]}
        logger.log(logging.DEBUG if route in QUIET else logging.INFO, "request", extra=line)


class BodyLimit:
    """Reads a request's body before the application does, and refuses one that is too large or too slow.

    Starlette's own limit answers in plain text where the application has answered already; here every
    refusal is a problem document, and nothing runs before the body is known to be small enough.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ProblemError as error:
            response = respond(error_document(error, scope["state"]["request_id"]), {"Connection": "close"})
            await response(scope, receive, send)
            return
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        await self._app(scope, replayed(whole, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, of which no more than the limit is read.

        Raises:
            BodyTooLargeError: if it is larger than that.
            RequestTimeoutError: if it does not come in time.
        """
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        more = True
        try:
            async with asyncio.timeout(self._timeout_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._max_bytes:
                        raise self._too_large()
        except TimeoutError:
            raise RequestTimeoutError(f"the body did not arrive within {self._timeout_s:g} s") from None
        return bytes(body)

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the body is larger than {self._max_bytes:,} bytes; send less at once")


def replayed(message: Message, receive: Receive) -> Receive:
    """Gives a message that was received already, then what else comes."""
    unread = [message]

    async def replay() -> Message:
        return unread.pop() if unread else await receive()

    return replay
