"""Beam search without a trie: every prefix of every SID is scored in float64, the K best reachable stay."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.graph_search import DEAD

Steps = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""Scores one step of B queries: (parents int64 [n, l], parent int64 [P], codes int64 [P]) → float64 [B, P],
log-probability of each of P codes after the prefix ``parents[parent]``."""


@dataclass(frozen=True)
class Ranking:
    """What B queries should find, best first, ties by leaf.

    Attributes:
        leaves: int64 [B, K]; −1 where fewer than K SIDs are reachable.
        log_probs: float64 [B, K]; ``DEAD`` there.
        margins: float64 [B], the smallest difference between two scores whose order decided anything: of
            neighbours in the answer, and of the last kept and the first dropped on any level. Whoever rounds
            more coarsely than this may answer otherwise and be right.
    """

    leaves: NDArray[np.int64]
    log_probs: NDArray[np.float64]
    margins: NDArray[np.float64]


def brute_force(
    sids: NDArray[np.int64], allowed: NDArray[np.bool_], beam_width: int, steps: Steps
) -> Ranking:
    """Find what an exact beam search finds.

    Args:
        sids: int64 [n, L], sorted, without repeats.
        allowed: bool [B, n], SIDs that each query may find.
        beam_width: K.
        steps: the scores.
    """
    batch, levels = len(allowed), sids.shape[1]
    margins = np.full(batch, np.inf)
    if not len(sids):
        shape = (batch, beam_width)
        return Ranking(np.full(shape, -1), np.full(shape, DEAD), margins)
    starts = np.zeros(1, dtype=np.int64)  # rows at which the prefixes of the level above begin
    begins = np.arange(len(sids)) == 0
    totals, kept = np.zeros((batch, 1)), np.ones((batch, 1), dtype=bool)
    for level in range(levels):
        parents = sids[starts, :level]
        begins[1:] |= sids[1:, level] != sids[:-1, level]
        parent = np.searchsorted(starts, np.flatnonzero(begins), side="right") - 1
        starts = np.flatnonzero(begins)
        totals = totals[:, parent] + steps(parents, parent, sids[starts, level])
        reachable = kept[:, parent] & np.logical_or.reduceat(allowed, starts, axis=1)
        scores = np.where(reachable, totals, -np.inf)
        order = np.argsort(-scores, axis=1, kind="stable")[:, : beam_width + 1]
        best = np.take_along_axis(scores, order, axis=1)
        gaps = _gaps(best)
        first = 0 if level == levels - 1 else beam_width - 1
        margins = np.minimum(margins, gaps[:, first:].min(axis=1, initial=np.inf))
        kept = np.zeros_like(reachable)
        np.put_along_axis(kept, order[:, :beam_width], np.isfinite(best[:, :beam_width]), axis=1)
    return Ranking(*_filled_up(order[:, :beam_width], best[:, :beam_width], beam_width), margins)


def _gaps(best: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences between neighbours of falling scores [B, n]: [B, n − 1], infinite by the unreachable."""
    better, worse = best[:, :-1], best[:, 1:]
    gaps = np.full(better.shape, np.inf)
    np.subtract(better, worse, out=gaps, where=np.isfinite(worse))
    return gaps


def _filled_up(
    leaves: NDArray[np.int64], scores: NDArray[np.float64], beam_width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Leaves and scores [B, n] with −1 and ``DEAD`` for what is out of reach or lacks to K: each [B, K]."""
    found = np.isfinite(scores)
    lacking = ((0, 0), (0, beam_width - leaves.shape[1]))
    return (
        np.pad(np.where(found, leaves, -1), lacking, constant_values=-1),
        np.pad(np.where(found, scores, DEAD), lacking, constant_values=DEAD),
    )
