"""How many children of a node beam search looks at in one go, per level of a trie."""

import numpy as np
from numpy.typing import NDArray

from sid.trie import Trie

CHUNK_COST = 8  # what a chunk costs beside its slots, in slots; measured on a CPU


def chunk_slots(trie: Trie) -> dict[str, NDArray[np.int32]]:
    """The inputs ``slots_0``, ``slots_1``, … of a graph; their lengths are the chunks of the levels.

    Beam search reads a node's children in chunks of W. Any W gives the same answers; a small one wastes few
    slots on nodes with few children, a large one makes few chunks. Chosen is the W that costs a node least on
    average.

    Returns:
        int32 [W] = 0, 1, … by input.
    """
    slots, first, last = {}, 0, 1
    for level in range(len(trie.widths)):
        degrees = np.diff(trie.indptr[first : last + 1])
        slots[f"slots_{level}"] = np.arange(_best_width(degrees), dtype=np.int32)
        first, last = last, int(trie.indptr[last]) + 1
    return slots


def _best_width(degrees: NDArray[np.int32]) -> int:
    widest = int(degrees.max(initial=1))
    counts = np.bincount(degrees)
    sizes = np.arange(len(counts))
    widths = [*(1 << power for power in range(widest.bit_length()) if 1 << power < widest), widest]
    costs = [int((counts * -(-sizes // width)).sum()) * (width + CHUNK_COST) for width in widths]
    return widths[int(np.argmin(costs))]
