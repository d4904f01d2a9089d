"""The trie step alone, with given logits: the graph's nodes against STATIC."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.decode.cell import Pace, milliseconds
from benchmarks.decode.setup import random_table
from benchmarks.decode.speed import LARGEST_DIFFERENCE, OURS, THREADS, DecodeError
from benchmarks.decode.static import Found, StaticIndex
from benchmarks.decode.trie_step import TrieStep, trie_inputs
from benchmarks.rounds import Report
from sid import Trie

LEVELS = 3
STATIC = "static"
DENSE_LEVELS = {STATIC: 2, "static, one dense level": 1}
MISSING = -1e29  # a log-probability below this is that of a beam that does not exist


@dataclass(frozen=True)
class TrieSettings:
    """The grid.

    Attributes:
        pace: of the steps.
        codebooks: codes of every level.
        n_sids: that exist.
        skews: exponents of Zipf's law over the codes of a level; 0 is uniform.
        batch_sizes, beam_widths: of the search.
    """

    pace: Pace
    codebooks: tuple[int, ...] = (1024, 2048)
    n_sids: tuple[int, ...] = (50_000, 1_000_000)
    skews: tuple[float, ...] = (0.0, 1.1)
    batch_sizes: tuple[int, ...] = (1, 8)
    beam_widths: tuple[int, ...] = (50, 512)


def measure(settings: TrieSettings, seed: int, device: torch.device, report: Report) -> dict[str, Any]:
    """Time the steps of all levels, in turns, after both sides have found the same.

    STATIC's authors advise two dense levels; on a CPU one is often faster, so the faster of both counts,
    shape by shape.

    Returns:
        "trie_vs_static": how long ours takes, as a share of STATIC, on the shape where that is largest;
        "trie_vs_static_as_advised": the same against two dense levels only; "trie": a row per shape.

    Raises:
        DecodeError: if the sides differ.
    """
    steps = {width: TrieStep(LEVELS, width, THREADS) for width in settings.beam_widths}
    rows: list[dict[str, Any]] = []
    for size, n_sids, skew in product(settings.codebooks, settings.n_sids, settings.skews):
        report(f"Trie step: {n_sids:,} SIDs, codebooks of {size:,}, skew {skew}")
        codebooks = (size,) * LEVELS
        trie = Trie.from_table(random_table(n_sids, codebooks, skew, seed))
        ours = trie_inputs(trie)
        static = {
            name: StaticIndex.from_trie(trie, codebooks, n_dense) for name, n_dense in DENSE_LEVELS.items()
        }
        for batch_size, beam_width in product(settings.batch_sizes, settings.beam_widths):
            logits = random_logits(batch_size, beam_width, codebooks, seed)
            tensors = [torch.from_numpy(of_level) for of_level in logits]
            for index in static.values():
                compare(steps[beam_width].search(logits, ours), index.search(tensors, beam_width))
            contenders: dict[str, Callable[[], object]] = {
                OURS: partial(steps[beam_width].search, logits, ours),
                **{name: partial(index.search, tensors, beam_width) for name, index in static.items()},
            }
            times = milliseconds(contenders, settings.pace, device, report)
            rows.append(
                {
                    "codebook": size,
                    "n_sids": n_sids,
                    "skew": skew,
                    "batch_size": batch_size,
                    "beam_width": beam_width,
                    "milliseconds": times,
                    "ratio": times[OURS] / min(times[name] for name in DENSE_LEVELS),
                    "ratio_as_advised": times[OURS] / times[STATIC],
                }
            )
    return {
        "trie_vs_static": max(row["ratio"] for row in rows),
        "trie_vs_static_as_advised": max(row["ratio_as_advised"] for row in rows),
        "trie": rows,
    }


def random_logits(
    batch_size: int, beam_width: int, codebooks: tuple[int, ...], seed: int
) -> list[NDArray[np.float32]]:
    """Logits per level, float32 [B, beams, V]; all beams of a query have the same.

    The sides hold their beams in different orders, and what they find must not depend on it.
    """
    rng = np.random.default_rng(seed)
    n_beams = (1, *[beam_width] * (len(codebooks) - 1))
    return [
        rng.normal(scale=2, size=(batch_size, 1, size)).astype(np.float32).repeat(n, axis=1)
        for n, size in zip(n_beams, codebooks, strict=True)
    ]


def compare(ours: tuple[NDArray[np.int32], NDArray[np.float32]], static: Found) -> None:
    """Check that both sides found the same.

    Raises:
        DecodeError: if log-probabilities differ.
    """
    expected = np.maximum(static.log_probs.cpu().numpy(), MISSING)
    difference = float(np.abs(np.maximum(ours[1], MISSING) - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise DecodeError(f"log-probabilities of the trie step and of STATIC differ by {difference:.1e}")
