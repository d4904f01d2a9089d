"""What happens to a bad row: the first one is fatal, or all are counted and the first few are shown."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.data.errors import DataError

OnError = Literal["fail", "skip"]
N_SHOWN = 5  # sentences kept per reason


class BadRow(Exception):  # noqa: N818 - it is no error until Rejects says so
    """A row that cannot be used.

    Args:
        reason: the kind of fault, equal for all rows that have it.
        detail: this row's fault, a sentence without its full stop.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Rejects:
    """Collects the bad rows of one run over all its files.

    Attributes:
        on_error: "fail" raises at the first bad row, "skip" leaves it out and counts it.
        counts: bad rows by "file: reason".
        shown: the first few sentences of each reason, in the order met.
    """

    on_error: OnError = "fail"
    counts: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All bad rows so far."""
        return self.counts.total()

    def reject(self, path: Path, line: int, bad: BadRow) -> None:
        """Leave a row out, or stop.

        Args:
            path: the file.
            line: where the row starts, from 1; for Parquet the row's number.
            bad: what is wrong with it.

        Raises:
            DataError: if bad rows are fatal.
        """
        sentence = f"{path.name}:{line}: {bad.detail}."
        if self.on_error == "fail":
            raise DataError(f"{sentence} Fix the row or pass --on-error skip.") from bad
        key = f"{path.name}: {bad.reason}"
        if self.counts[key] < N_SHOWN:
            self.shown.append(sentence)
        self.counts[key] += 1
