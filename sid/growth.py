"""Arrays that get longer at their end without being copied each time."""

import threading
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

ROOM = 1.25  # of what is needed: the next ones find place

_lock = threading.Lock()


class _Memory(np.ndarray[Any, np.dtype[Any]]):
    """Owns rows and the room behind them; nobody writes to the first ``n_used`` rows any more."""

    n_used: int


def extended(rows: NDArray[Scalar], more: NDArray[Scalar]) -> NDArray[Scalar]:
    """Put rows behind those that are there, like ``np.concatenate``.

    The first time all rows are copied, into memory with room behind them; an array that was made here is
    only written behind. Whoever holds it sees no change: it ends where it ended.

    Args:
        rows: [n, …].
        more: [m, …], of the same dtype.

    Returns:
        [n + m, …], C-contiguous.
    """
    n = len(rows) + len(more)
    with _lock:
        memory = rows.base
        # Another array may have been made from these rows before; then the room is taken.
        if not (isinstance(memory, _Memory) and memory.n_used == len(rows) and n <= len(memory)):
            memory = _Memory((int(ROOM * n), *rows.shape[1:]), rows.dtype)
            memory[: len(rows)] = rows
        memory.n_used = n
    memory[len(rows) : n] = more
    # Its base is the memory itself; a slice would be of another one's type.
    whole = np.ndarray((n, *rows.shape[1:]), rows.dtype, buffer=cast(Any, memory))
    whole.flags.writeable = False
    return whole
