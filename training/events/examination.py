"""How likely each position is looked at, estimated from the log of choices itself.

The position-based model (Craswell et al., WSDM 2008): an item is chosen if it is examined, which depends on
its position alone, and attractive, which depends on query and item alone. What an item gains and loses where
it is shown at several positions is therefore the positions' doing (intervention harvesting, Agarwal et al.,
WSDM 2019): catalogues, models, filters and experiments move items, and nothing needs to be shuffled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_CHOICES = (
    10.0  # expected choices that count as much as the belief that a position is like the one above
)
MAX_ROUNDS, TOLERANCE = 10_000, 1e-9


@dataclass(frozen=True)
class PairCounts:
    """What became of items at positions; one entry per (query, item) and position it was shown at.

    Attributes:
        pairs: int64 [n], number of the pair of query and item, 0..P-1.
        positions: int64 [n], from 1.
        shown: float64 [n], how often.
        chosen: float64 [n], how often it was chosen there.
    """

    pairs: NDArray[np.int64]
    positions: NDArray[np.int64]
    shown: NDArray[np.float64]
    chosen: NDArray[np.float64]


def estimate_examination(counts: PairCounts, n_positions: int) -> NDArray[np.float64]:
    """Estimate examination by position.

    The most likely examinations and attractions if choices were Poisson with mean shown · examination ·
    attraction, whose expectation is that of the model; found by scaling each side to the other in turn, which
    converges to the one optimum. A position that little is known of is taken to be like the one above it, so
    where no item ever moved all positions count as examined alike.

    Args:
        counts: of pairs, best those that were shown at several positions; others have no influence.
        n_positions: how many to estimate.

    Returns:
        float64 [n_positions], 1 for the position that is examined most: only ratios can be known.
    """
    rows = counts.positions - 1
    n_pairs = int(counts.pairs.max(initial=-1)) + 1
    chosen_of_pair = np.bincount(counts.pairs, counts.chosen, n_pairs)
    chosen_at = np.bincount(rows, counts.chosen, n_positions).astype(np.float64)
    examination = np.ones(n_positions)
    for _ in range(MAX_ROUNDS):
        examined = np.bincount(counts.pairs, counts.shown * examination[rows], n_pairs)
        attraction = chosen_of_pair / np.maximum(examined, 1e-12)
        expected_at = np.bincount(rows, counts.shown * attraction[counts.pairs], n_positions)
        updated = _downwards(chosen_at, expected_at.astype(np.float64))
        change = np.abs(updated - examination).max(initial=0.0)
        examination = updated
        if change < TOLERANCE:
            break
    return examination


def _downwards(chosen: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choices per choice expected of full examination, each position with the one above as its prior."""
    ratios = np.empty(len(chosen), np.float64)
    above = chosen[:1].sum() / expected[:1].sum() if expected[:1].sum() else 1.0
    for row, (n_chosen, n_expected) in enumerate(zip(chosen, expected, strict=True)):
        prior = PRIOR_CHOICES if row else 0.0
        if n_expected + prior:
            above = (n_chosen + prior * above) / (n_expected + prior)
        ratios[row] = above
    shares: NDArray[np.float64] = ratios / ratios.max(initial=1e-12)
    return shares
