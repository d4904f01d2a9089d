"""Building the SID table and the trie of a very large catalogue from unsorted codes: time and memory."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import numpy as np

from benchmarks.memory import peak_bytes, restart_peak
from benchmarks.rounds import Report
from sid import SidTable, Trie

T = TypeVar("T")

CODEBOOKS = (1024, 1024, 1024)
SPARE = 1.01  # items per SID that is wanted, as some items draw the same SID
KEPT = 0.01  # share of the leaves that the filter keeps
ROUNDS = 5  # of the filter


def measure(n_sids: int, seed: int, report: Report) -> dict[str, Any]:
    """Build in a new process, which holds nothing else.

    Args:
        n_sids: about how many.
        seed: of the items' codes.
        report: told what goes on.

    Returns:
        See :func:`build`.
    """
    report(f"Building the trie of {n_sids:,} SIDs")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(build, n_sids, seed).result()


def build(n_sids: int, seed: int) -> dict[str, Any]:
    """Build table and trie of random SIDs.

    Returns:
        "n_items", "n_sids", "codebooks"; "table_s" and "trie_s", which add up to "build_s"; "peak_bytes", the
        most memory held while building, codes of the items included; "device_bytes_per_sid", of the arrays
        that a search reads; "alive_ms", from a mask of 1% of the leaves to the nodes above them.
    """
    held = restart_peak()
    rng = np.random.default_rng(seed)
    item_codes = rng.integers(0, CODEBOOKS, (round(SPARE * n_sids), len(CODEBOOKS)), dtype=np.int32)
    table, table_s = _timed(lambda: SidTable.from_item_codes(item_codes, CODEBOOKS))
    trie, trie_s = _timed(lambda: Trie.from_table(table))
    peak = peak_bytes() - held
    leaf_mask = rng.random(trie.n_leaves) < KEPT
    alive_s = np.median([_timed(lambda: trie.alive(leaf_mask))[1] for _ in range(ROUNDS)])
    return {
        "n_items": table.n_items,
        "n_sids": table.n_leaves,
        "codebooks": list(CODEBOOKS),
        "build_s": table_s + trie_s,
        "table_s": table_s,
        "trie_s": trie_s,
        "peak_bytes": peak,
        "device_bytes_per_sid": (trie.indptr.nbytes + trie.codes.nbytes) / trie.n_leaves,
        "alive_ms": 1000 * float(alive_s),
    }


def _timed(run: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return run(), time.perf_counter() - started
