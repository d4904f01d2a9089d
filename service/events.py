"""The event log: what was shown and what shoppers did, as JSON lines.

Each process writes a file of its own per day (UTC), so nobody writes behind what another left unfinished. The
last line of a file may be half a line, where its process was killed; readers skip it.
"""

import asyncio
import errno
import logging
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
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
        self._process = uuid.uuid4().hex[:8]  # not the process id: it is 1 in every container
        self._entries: list[_Entry] = []
        self._is_failing = False
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
                self._metrics.event_log_faults.inc(len(entries))
                self._note(error)
                _settle(
                    entries, UnavailableError("the event log cannot be written; send the event again later")
                )
            else:
                self._note(None)
                _settle(entries, None)
        self._writer = None

    def _note(self, error: OSError | None) -> None:
        """Log when writing begins to fail and when it works again, not every event in between."""
        if error is not None and not self._is_failing:
            logger.error("events are lost", extra={"error": str(error)})
        elif error is None and self._is_failing:
            logger.warning("events are written again")
        self._is_failing = error is not None

    def _append(self, entries: Iterable[_Entry]) -> None:
        """Write whole lines, or none.

        Raises:
            OSError: if they could not be written.
        """
        path = self._directory / f"events-{datetime.now(UTC):%Y-%m-%d}-{self._process}.jsonl"
        lines = b"".join(entry.line for entry in entries)
        with path.open("ab", buffering=0) as file:
            size_before = os.fstat(file.fileno()).st_size
            try:
                if file.write(lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # the first error is the one to tell
                    file.truncate(size_before)
                raise


def _settle(entries: Iterable[_Entry], error: Exception | None) -> None:
    """Tell those who wait."""
    for entry in entries:
        if entry.written is None or entry.written.done():
            continue
        if error is None:
            entry.written.set_result(None)
        else:
            entry.written.set_exception(error)
