"""Requests as a recorder gives them, made in tests."""

from collections.abc import Sequence

import numpy as np

from loadtest.answers import Operation
from loadtest.recorder import OPERATIONS, Requests


def requests(
    latencies_ms: Sequence[float],
    *,
    operation: Operation = Operation.SEARCH,
    due_s: Sequence[float] | None = None,
    lateness_ms: Sequence[float] | float = 0.0,
    failed: Sequence[bool] | bool = False,
    degraded: Sequence[bool] | bool = False,
) -> Requests:
    """Requests of one operation; by default due one each second, on time, and well answered."""
    n = len(latencies_ms)
    return Requests(
        operation=np.full(n, OPERATIONS.index(operation), dtype=np.int8),
        due_s=np.array(due_s if due_s is not None else range(n), dtype=np.float64),
        latency_ms=np.array(latencies_ms, dtype=np.float64),
        lateness_ms=np.broadcast_to(np.array(lateness_ms, dtype=np.float64), n).copy(),
        failed=np.broadcast_to(np.array(failed, dtype=np.bool_), n).copy(),
        degraded=np.broadcast_to(np.array(degraded, dtype=np.bool_), n).copy(),
    )
