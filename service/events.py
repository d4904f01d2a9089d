"""The event log: what was shown and what shoppers did, as JSON lines in one file per day (UTC)."""

import asyncio
import errno
import logging
import os
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from service.errors import ServiceError
from service.metrics import Metrics
from service.problems import UnavailableError

MAX_UNWRITTEN = 10_000  # exposures kept while the disk is slow; past it they are dropped and counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A line to write, and who waits until it is on the disk."""

    line: bytes
    written: asyncio.Future[None] | None


class EventLog:
    """Appends events in groups: one write and one fsync for all that gathered during the last one."""

    def __init__(self, directory: Path, metrics: Metrics) -> None:
        """Prepare the log.

        Raises:
            ServiceError: if the directory cannot be written to.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"{directory} cannot be made ({error.strerror}); pass --event-log DIR"
            ) from error
        if not os.access(directory, os.W_OK):
            raise ServiceError(f"{directory} is not writable; pass --event-log DIR")
        self._directory = directory
        self._metrics = metrics
        self._entries: list[_Entry] = []
        self._torn = False  # the last write failed and may have left half a line
        self._writer: asyncio.Task[None] | None = None

    def record(self, event: dict[str, Any]) -> None:
        """Write an event soon; a search does not wait for the disk."""
        if len(self._entries) >= MAX_UNWRITTEN:
            self._metrics.event_log_faults.inc()
            return
        self._add(event, None)

    async def append(self, event: dict[str, Any]) -> None:
        """Write an event and return when it is on the disk.

        Raises:
            UnavailableError: if it could not be written.
        """
        written = asyncio.get_running_loop().create_future()
        self._add(event, written)
        await written

    async def close(self) -> None:
        """Write what is left."""
        while self._writer is not None:
            await self._writer

    def _add(self, event: dict[str, Any], written: asyncio.Future[None] | None) -> None:
        stamped = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **event}
        self._entries.append(_Entry(orjson.dumps(stamped, option=orjson.OPT_APPEND_NEWLINE), written))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), context=Context())  # of no request

    async def _write(self) -> None:
        while self._entries:
            entries, self._entries = self._entries, []
            try:
                await asyncio.to_thread(self._append, entries)
            except OSError as error:
                self._torn = True
                self._metrics.event_log_faults.inc(len(entries))
                logger.error("events are lost", extra={"error": str(error), "events": len(entries)})
                _settle(
                    entries, UnavailableError("the event log cannot be written; send the event again later")
                )
            else:
                self._torn = False
                _settle(entries, None)
        self._writer = None

    def _append(self, entries: Iterable[_Entry]) -> None:
        """One write: lines of processes that share the directory do not mix."""
        path = self._directory / f"events-{datetime.now(UTC):%Y-%m-%d}.jsonl"
        lines = b"".join(entry.line for entry in entries)
        with path.open("ab", buffering=0) as file:
            data = b"\n" + lines if self._torn else lines
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())


def _settle(entries: Iterable[_Entry], error: Exception | None) -> None:
    """Tell those who wait."""
    for entry in entries:
        if entry.written is None or entry.written.done():
            continue
        if error is None:
            entry.written.set_result(None)
        else:
            entry.written.set_exception(error)
