"""uvicorn, with a shutdown that loses nothing."""

import asyncio
import errno
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.errors import ServiceError
from service.protocol import BoundedProtocol, look_after_clients
from service.readiness import Readiness

KEEP_ALIVE_S = 75  # longer than the idle timeout of usual load balancers, so that they close first
LAST_ANSWER_S = 35  # longer than the longest deadline
OTHER_FILES = 256  # open beside the connections: logs, Redis, the model
SAME_GESTURE_S = 1.0  # Ctrl-C may arrive twice: from the terminal and from a parent process

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """Take the address before anything is loaded.

    Raises:
        ServiceError: if it is in use or not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServiceError(
                f"port {port} on {host} is in use; stop what runs there or pass --port"
            ) from error
        raise ServiceError(
            f"cannot listen on {host}:{port} ({error.strerror}); pass --host and --port"
        ) from error
    return listener


def allow_connections(n_connections: int) -> None:
    """Raise this process's limit of open files, which is often 1,024, as far as it may be."""
    needed = n_connections + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        logger.warning(
            "this process may open %d files, less than %d connections need; raise 'ulimit -n'",
            allowed,
            n_connections,
        )


def url_of(listener: socket.socket) -> str:
    """Where a browser on this machine finds the service."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 — compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run(app: FastAPI, listener: socket.socket, drain_s: float, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT; finish what is in flight, then stop.

    Args:
        app: its lifespan is entered here, so that its errors reach the caller.
        listener: bound; connections are taken when everything is loaded.
        drain_s: how long SIGTERM keeps answering with readiness off.
        announce: called when the first request can come.
    """
    allow_connections(app.state.client_limits.max_connections)
    server = DrainingServer(app, drain_s, announce)
    running = asyncio.create_task(server.serve_app(listener))

    def on_signal(number: signal.Signals) -> None:
        if server.started:
            server.stop(at_once=number == signal.SIGINT)
        else:
            running.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    with suppress(asyncio.CancelledError):  # told to stop while it was starting
        await running


class DrainingServer(uvicorn.Server):
    """A server that says goodbye before it stops.

    Told to stop, readiness goes off and answers carry ``Connection: close``; after ``drain_s`` no connection
    is taken any more, and requests in flight are finished. Told a second time, later than the echo of the
    first, it breaks off.
    """

    def __init__(self, app: FastAPI, drain_s: float, announce: Callable[[], None]) -> None:
        # A factory is all that uvicorn asks for; it is typed as a class.
        protocol: Any = partial(BoundedProtocol, app.state.client_limits, app.state.metrics)
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_ANSWER_S,
        )
        super().__init__(config)
        self._app = app
        self._readiness: Readiness = app.state.readiness
        self._drain_s = drain_s
        self._announce = announce
        self._stopping_since: float | None = None

    async def serve_app(self, listener: socket.socket) -> None:
        """Start the application, answer until told to stop, stop the application."""
        async with self._app.router.lifespan_context(self._app):
            _exempt_what_is_loaded()
            looking_after = asyncio.create_task(look_after_clients(self.server_state))
            try:
                await self.serve([listener])
            finally:
                looking_after.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        await super().startup(sockets)
        self._announce()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to :func:`run`: uvicorn's way ends the process before the lifespan has ended."""
        yield

    def stop(self, at_once: bool) -> None:
        """Begin to stop, or break off.

        Args:
            at_once: take no more connections from now on, instead of after ``drain_s``.
        """
        loop = asyncio.get_running_loop()
        if self._stopping_since is None:
            self._stopping_since = loop.time()
            self._readiness.drain()
            loop.call_later(0 if at_once else self._drain_s, setattr, self, "should_exit", True)
        elif loop.time() - self._stopping_since > SAME_GESTURE_S:
            self.should_exit = self.force_exit = True


def _exempt_what_is_loaded() -> None:
    """Spare the garbage collector the objects that stay: to look at all of them stops every search for 0.1 s.

    What of them is dropped later is freed by its reference count, as bundles and epochs are anyway.
    """
    gc.collect()
    gc.freeze()
