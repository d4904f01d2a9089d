"""Files of the event log: appended to by one process, a new one each day and when one is full.

Names are ``events-DAY-PROCESS-NUMBER.jsonl``, the day that of receipt in UTC. Every start of a process has a
name of its own, so nobody writes behind what another left unfinished.
"""

import errno
import logging
import os
import re
import uuid
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from service.errors import ServiceError

NAME = re.compile(r"events-(\d{4}-\d{2}-\d{2})-[0-9a-f]{8}(-\d{4,})?\.jsonl")

logger = logging.getLogger(__name__)


class EventFiles:
    """The files that this process appends to, one after the other.

    Args:
        directory: of all event files; made where it does not exist.
        max_bytes: size from which on a file takes no more lines.
        keep_days: files of days longer ago are deleted when a new file begins; 0 keeps all.

    Raises:
        ServiceError: if the directory cannot be written to.
    """

    def __init__(self, directory: Path, max_bytes: int, keep_days: int) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"{directory} cannot be made ({error.strerror}); pass --event-log DIR"
            ) from error
        if not os.access(directory, os.W_OK):
            raise ServiceError(f"{directory} is not writable; pass --event-log DIR")
        self._directory = directory
        self._max_bytes = max_bytes
        self._keep_days = keep_days
        self._process = uuid.uuid4().hex[:8]  # not the process id: it is 1 in every container
        self._day: date | None = None
        self._number = 0
        self._is_full = False

    def append(self, lines: bytes) -> None:
        """Bring whole lines to the disk, or nothing.

        Raises:
            OSError: if they could not be written.
        """
        path = self._current()
        is_new = not path.exists()
        with path.open("ab", buffering=0) as file:  # opened each time, so that a deleted file is noticed
            size_before = os.fstat(file.fileno()).st_size
            try:
                if file.write(lines) < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):  # the first error is the one to tell
                    file.truncate(size_before)
                raise
        if is_new:
            self._sync_directory()
        self._is_full = size_before + len(lines) >= self._max_bytes

    def _current(self) -> Path:
        """The file that takes the next lines."""
        today = datetime.now(UTC).date()
        if today != self._day or self._is_full:
            self._number = self._number + 1 if today == self._day else 1
            self._day, self._is_full = today, False
            self._delete_before(today - timedelta(days=self._keep_days))
        return self._directory / f"events-{today}-{self._process}-{self._number:04}.jsonl"

    def _sync_directory(self) -> None:
        """Bring the name of a new file to the disk, where the file system can."""
        with suppress(OSError):
            descriptor = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _delete_before(self, day: date) -> None:
        """Delete files of earlier days, also those of other processes."""
        if not self._keep_days:
            return
        for path in self._directory.glob("events-*.jsonl"):
            name = NAME.fullmatch(path.name)
            if name and name[1] < day.isoformat():
                try:
                    path.unlink(missing_ok=True)  # another process may have been faster
                except OSError as error:
                    logger.warning(
                        "an old event file is kept", extra={"file": path.name, "error": str(error)}
                    )
