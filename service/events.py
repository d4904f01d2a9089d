"""The event log: what was shown and what shoppers did, as JSON lines.

``docs/events.md`` says what is in them. The last line of a file may be half a line, where its process
was killed; readers skip it.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from service.event_files import EventFiles
from service.metrics import Metrics
from service.problems import UnavailableError
from service.pseudonyms import Pseudonyms

SCHEMA = 1  # of the lines; a field may be added under the same number, not renamed or given another meaning
MAX_UNWRITTEN_BYTES = 64 * 2**20  # kept while the disk is slow; past it exposures are dropped, events refused
RECENT_EVENTS = 20_000  # whose event_id is remembered

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Entry:
    """A line to write.

    Attributes:
        line: JSON, ended.
        arrived: by ``time.monotonic``.
        event_id: the client's, under which a repeat is known.
        written: becomes whether it is on the disk; None where nobody waits.
    """

    line: bytes
    arrived: float
    event_id: str | None = None
    written: asyncio.Future[bool] | None = None


class EventLog:
    """Appends events in groups: one write and one fsync for all that gathered during the last one.

    Args:
        files: that take the lines.
        flush_s: how long exposures gather before they are written, unless somebody waits for one; 0 writes
            at once.
        pseudonyms: how ids of people are written.
        metrics: told of faults, bytes and time.
    """

    def __init__(self, files: EventFiles, flush_s: float, pseudonyms: Pseudonyms, metrics: Metrics) -> None:
        self._files = files
        self._flush_s = flush_s
        self._pseudonyms = pseudonyms
        self._metrics = metrics
        self._entries: list[_Entry] = []
        self._unwritten_bytes = 0
        self._recent: dict[str, asyncio.Future[bool]] = {}  # oldest first
        self._is_failing = False
        self._is_closing = False
        self._is_awaited = asyncio.Event()  # whether somebody waits for what has gathered
        self._writer: asyncio.Task[None] | None = None

    def record(self, event: Mapping[str, Any]) -> None:
        """Write an event soon; a search does not wait for the disk."""
        if self._is_full():
            self._metrics.event_log_faults.inc()
            return
        self._add(event, None, None)

    async def append(self, event: Mapping[str, Any]) -> bool:
        """Write an event and return when it is on the disk.

        Returns:
            Whether it was written now; a repeat of a recent ``event_id`` is not written again.

        Raises:
            UnavailableError: if it could not be written.
        """
        event_id = event.get("event_id")
        written = self._recent.get(event_id) if event_id is not None else None
        is_new = written is None
        if written is None:
            if self._is_full():
                self._metrics.event_log_faults.inc()
                raise UnavailableError("too many events wait for the disk; send the event again later")
            written = asyncio.get_running_loop().create_future()
            self._add(event, event_id, written)
        if not await asyncio.shield(written):  # a repeat may wait for it too
            raise UnavailableError("the event log cannot be written; send the event again later")
        return is_new

    async def close(self) -> None:
        """Write what is left."""
        self._is_closing = True
        self._is_awaited.set()
        while self._writer is not None:
            await self._writer

    def _is_full(self) -> bool:
        return self._unwritten_bytes >= MAX_UNWRITTEN_BYTES

    def _add(
        self, event: Mapping[str, Any], event_id: str | None, written: asyncio.Future[bool] | None
    ) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        stamped = {"schema": SCHEMA, "time": now, **self._pseudonyms.applied(event)}
        line = orjson.dumps(stamped, option=orjson.OPT_APPEND_NEWLINE)
        self._entries.append(_Entry(line, time.monotonic(), event_id, written))
        self._unwritten_bytes += len(line)
        if written is not None:
            self._is_awaited.set()
        if event_id is not None and written is not None:
            self._recent[event_id] = written
            if len(self._recent) > RECENT_EVENTS:
                del self._recent[next(iter(self._recent))]
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), context=Context())  # of no request

    async def _write(self) -> None:
        while self._entries:
            await self._gather()
            entries, self._entries = self._entries, []
            if not self._is_closing:
                self._is_awaited.clear()
            lines = b"".join(entry.line for entry in entries)
            try:
                await asyncio.to_thread(self._files.append, lines)
            except OSError as error:
                self._metrics.event_log_faults.inc(len(entries))
                self._note(error)
                self._settle(entries, is_written=False)
            else:
                self._metrics.event_log_bytes.inc(len(lines))
                self._metrics.event_log_seconds.observe(time.monotonic() - entries[0].arrived)
                self._note(None)
                self._settle(entries, is_written=True)
            self._unwritten_bytes -= len(lines)
        self._writer = None

    async def _gather(self) -> None:
        """Let more exposures come until somebody waits."""
        if self._flush_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._flush_s):
                    await self._is_awaited.wait()

    def _note(self, error: OSError | None) -> None:
        """Log when writing begins to fail and when it works again, not every event in between."""
        if error is not None and not self._is_failing:
            logger.error("events are lost", extra={"error": str(error)})
        elif error is None and self._is_failing:
            logger.warning("events are written again")
        self._is_failing = error is not None

    def _settle(self, entries: Iterable[_Entry], *, is_written: bool) -> None:
        """Tell those who wait; what was not written may be sent again under its id."""
        for entry in entries:
            if entry.written is None:
                continue
            if not is_written and entry.event_id is not None:
                self._recent.pop(entry.event_id, None)
            entry.written.set_result(is_written)
