"""``radsearch serve --processes``: processes that share a port, a Redis and what Prometheus is told."""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead
from pydantic import SecretStr

from service.embedded import EmbeddedValkey
from service.errors import ServiceError
from service.metrics import MULTIPROCESS
from service.settings import ServiceSettings
from service.worker import settings_line

CHECK_S = 1.0  # between two looks at the embedded Valkey
RESTART_S = 1.0  # after a process that ended before it could serve

logger = logging.getLogger(__name__)


async def supervise(settings: ServiceSettings, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve from ``settings.processes`` processes until SIGTERM or SIGINT; replace those that die.

    Args:
        settings: of each process.
        listener: bound; the processes take connections from it in turn, and none is lost with a process that
            has not taken it.
        announce: called when all of them serve.

    Raises:
        ServiceError: if one does not start.
    """
    async with AsyncExitStack() as stack:
        measured = stack.enter_context(tempfile.TemporaryDirectory(prefix="radsearch-metrics-"))
        if settings.redis_url is None:
            valkey = EmbeddedValkey()
            stack.push_async_callback(asyncio.to_thread, valkey.stop)
            await asyncio.to_thread(valkey.ensure_running)
            settings = settings.model_copy(update={"redis_url": SecretStr(valkey.url)})
            watching = asyncio.create_task(_keep_running(valkey))
            stack.callback(watching.cancel)
        await Supervisor(settings, listener, Path(measured)).run(announce)


async def _keep_running(valkey: EmbeddedValkey) -> None:
    while True:
        await asyncio.sleep(CHECK_S)
        try:
            await asyncio.to_thread(valkey.ensure_running)
        except ServiceError as error:
            logger.error("no embedded Valkey", extra={"error": str(error)})


class Supervisor:
    """Starts worker processes, passes signals on to them, and replaces those that die."""

    def __init__(self, settings: ServiceSettings, listener: socket.socket, measured: Path) -> None:
        """Prepare.

        Args:
            settings: of each process.
            listener: bound.
            measured: directory where the processes keep their measurements.
        """
        self._settings = settings
        self._listener = listener
        self._measured = measured
        self._processes: set[Process] = set()
        self._stop: signal.Signals | None = None  # the signal that told us to stop

    async def run(self, announce: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            ServiceError: if a process does not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        starting = [asyncio.create_task(self._start()) for _ in range(self._settings.processes)]
        try:
            processes = await asyncio.gather(*starting)
            if not self._is_stopping():
                announce()
            await asyncio.gather(*(self._replace(process) for process in processes))
        except ServiceError:
            if not self._is_stopping():  # else one was told to stop while it was starting
                raise
        finally:
            if not self._is_stopping():
                self._on_signal(signal.SIGTERM)
            await asyncio.gather(*starting, return_exceptions=True)
            await asyncio.gather(*(process.wait() for process in self._processes))

    def _is_stopping(self) -> bool:
        return self._stop is not None

    def _on_signal(self, number: signal.Signals) -> None:
        self._stop = number
        self._listener.close()  # what nobody takes shall not wait in a queue
        for process in self._processes:
            with suppress(ProcessLookupError):  # it has ended
                process.send_signal(number)

    async def _replace(self, process: Process) -> None:
        """Keep one process running: this one or, when it has died, another."""
        while True:
            status = await process.wait()
            self._forget(process)
            if self._is_stopping():
                return
            logger.error(
                "a process died, another takes its place", extra={"pid": process.pid, "status": status}
            )
            while (successor := await self._try_start()) is None:
                await asyncio.sleep(RESTART_S)
            process = successor

    async def _try_start(self) -> Process | None:
        """A process that serves; None if it does not start.

        Raises:
            ServiceError: if there shall be none any more.
        """
        try:
            return await self._start()
        except ServiceError as error:
            if self._is_stopping():
                raise
            logger.error("a process does not start", extra={"error": str(error)})
            return None

    async def _start(self) -> Process:
        """A process that serves.

        Raises:
            ServiceError: if it ends instead.
        """
        if self._is_stopping():
            raise ServiceError("told to stop")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service.worker", str(self._listener.fileno())),
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[self._listener.fileno()],
            env={**os.environ, MULTIPROCESS: str(self._measured)},
        )
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 — both are pipes
        self._processes.add(process)
        if self._stop is not None:
            process.send_signal(self._stop)  # it came while the process was made
        process.stdin.write(settings_line(self._settings))  # and it stays open for as long as we live
        told = await process.stdout.readline()
        message = json.loads(told) if told else {"error": "a process ended before it could serve"}
        if "error" in message:
            await process.wait()
            self._forget(process)
            for file in self._measured.glob(f"*_{process.pid}.db"):
                file.unlink()  # it has measured nothing
            raise ServiceError(message["error"])
        return process

    def _forget(self, process: Process) -> None:
        """Take a dead process out of the gauges; what it counted stays counted."""
        self._processes.discard(process)
        mark_process_dead(process.pid, str(self._measured))  # type: ignore[no-untyped-call]
