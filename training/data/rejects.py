"""What happens to a bad row: the first one is fatal, or all are counted and the first few are shown."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from training.data.errors import DataError

OnError = Literal["fail", "skip"]
N_SHOWN = 5  # sentences kept per reason


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

    def reject(self, path: Path, line: int, reason: str, detail: str) -> None:
        """Leave a row out, or stop.

        Args:
            path: the file.
            line: where the row starts, from 1; for Parquet the row's number.
            reason: the kind of fault, equal for all rows that have it.
            detail: this row's fault.

        Raises:
            DataError: if bad rows are fatal.
        """
        sentence = f"{path.name}:{line}: {detail}."
        if self.on_error == "fail":
            raise DataError(f"{sentence} Fix the row or pass --on-error skip.")
        key = f"{path.name}: {reason}"
        if self.counts[key] < N_SHOWN:
            self.shown.append(sentence)
        self.counts[key] += 1
