"""What a load test keeps of every request."""

from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadtest.answers import Answer, Operation, SearchAnswer

OPERATIONS = tuple(Operation)


@dataclass(frozen=True)
class Requests:
    """Columns of all requests, in the order in which they were due.

    Attributes:
        operation: index into ``OPERATIONS``, int8 [n].
        due_s: when each was due, seconds from the start, float64 [n].
        latency_ms: from when it was due until the whole answer was there, float64 [n].
        lateness_ms: the part of it by which the generator sent it too late, float64 [n].
        failed: whether it got no good answer, bool [n].
        degraded: whether the answer says that something was away, bool [n].
    """

    operation: NDArray[np.int8]
    due_s: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    lateness_ms: NDArray[np.float64]
    failed: NDArray[np.bool_]
    degraded: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.due_s)

    def of(self, *operations: Operation) -> "Requests":
        """The requests of some operations."""
        indices = [OPERATIONS.index(operation) for operation in operations]
        return self.where(np.isin(self.operation, indices))

    def where(self, mask: NDArray[np.bool_]) -> "Requests":
        """The requests of a mask, bool [n]."""
        return Requests(
            self.operation[mask],
            self.due_s[mask],
            self.latency_ms[mask],
            self.lateness_ms[mask],
            self.failed[mask],
            self.degraded[mask],
        )

    @property
    def answered(self) -> "Requests":
        """Those with a good answer."""
        return self.where(~self.failed)

    @property
    def searches(self) -> "Requests":
        """Those for one query, with or without a filter."""
        return self.of(Operation.SEARCH, Operation.FILTER)

    def counted_from_sending(self) -> "Requests":
        """As they would look if every request had been due when it was sent."""
        return Requests(
            self.operation,
            self.due_s,
            self.latency_ms - self.lateness_ms,
            np.zeros_like(self.lateness_ms),
            self.failed,
            self.degraded,
        )


class Recorder:
    """Takes requests as they finish.

    Every latency is kept (27 bytes a request): an SLO is about the tail, which rounded histograms lose.

    Attributes:
        errors: kind of error to how often it came.
        variants: variant to how many searches it answered.
        degraded: what was away to how many searches were answered without it.
    """

    def __init__(self) -> None:
        self._operations = array("b")
        self._due = array("d")
        self._latencies = array("d")
        self._lateness = array("d")
        self._failed = array("b")
        self._degraded = array("b")
        self.errors: Counter[str] = Counter()
        self.variants: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()

    def add(
        self,
        operation: Operation,
        due_s: float,
        latency_ms: float,
        outcome: Answer | str,
        lateness_ms: float = 0.0,
    ) -> None:
        """Take one request.

        Args:
            operation: what it did.
            due_s: when it was due, seconds from the start.
            latency_ms: from then until the whole answer was there.
            outcome: the answer, or the kind of error.
            lateness_ms: how much too late it was sent.
        """
        search = outcome if isinstance(outcome, SearchAnswer) else None
        if search:
            self.variants[search.variant] += 1
            self.degraded.update(search.degraded)
        if isinstance(outcome, str):
            self.errors[outcome] += 1
        self._operations.append(OPERATIONS.index(operation))
        self._due.append(due_s)
        self._latencies.append(latency_ms)
        self._lateness.append(lateness_ms)
        self._failed.append(isinstance(outcome, str))
        self._degraded.append(bool(search and search.degraded))

    def requests(self) -> Requests:
        """All requests so far."""
        due = np.array(self._due, dtype=np.float64)
        order = np.argsort(due, kind="stable")
        return Requests(
            np.array(self._operations, dtype=np.int8)[order],
            due[order],
            np.array(self._latencies, dtype=np.float64)[order],
            np.array(self._lateness, dtype=np.float64)[order],
            np.array(self._failed, dtype=np.bool_)[order],
            np.array(self._degraded, dtype=np.bool_)[order],
        )
