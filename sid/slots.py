"""How many children of a node beam search looks at in one go, and how many chunks that makes."""

import numpy as np
from numpy.typing import NDArray

CHUNK_COST = 8  # what a chunk costs beside its slots, in slots; measured on a CPU


def chunk_width(degrees: NDArray[np.int32]) -> int:
    """The chunk W in which to read the children of a level's nodes.

    Any W gives the same answers; a small one wastes few slots on nodes with few children, a large one makes
    few chunks. Chosen is the W that costs a node least on average.

    Args:
        degrees: int32 [n], children of each node of the level; n may be 0.
    """
    widest = int(degrees.max(initial=1))
    counts = np.bincount(degrees)
    sizes = np.arange(len(counts))
    widths = [*(1 << power for power in range(widest.bit_length()) if 1 << power < widest), widest]
    costs = [int((counts * -(-sizes // width)).sum()) * (width + CHUNK_COST) for width in widths]
    return widths[int(np.argmin(costs))]


def most_chunks(degrees: NDArray[np.int32], width: int, n_nodes: int) -> int:
    """How many chunks the children of any ``n_nodes`` nodes of a level make at most."""
    chunks = -(-degrees // width)
    return int(np.sort(chunks)[-n_nodes:].sum())
