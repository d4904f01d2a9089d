"""How likely each position is looked at, estimated from the log of choices itself.

The position-based model (Craswell et al., WSDM 2008): an item is chosen if it is examined, which depends on
its position alone, and attractive, which depends on query and item alone. What an item gains and loses where
it is shown at several positions is therefore the positions' doing (intervention harvesting, Agarwal et al.,
WSDM 2019): catalogues, models, filters and experiments move items, and nothing needs to be shuffled. Where
items hardly moved, choices per impression must do: as better items stand higher, they fall faster than
examination does, so that too little counts as looked at rather than too much.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR_CHOICES = 10.0  # as many choices say as much as what is believed without them
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


def estimate_examination(
    moved: PairCounts, shown: NDArray[np.float64], chosen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Estimate examination by position.

    The most likely examinations and attractions if choices were Poisson with mean shown · examination ·
    attraction, whose expectation is that of the model; found by scaling each side to the other in turn, which
    converges to the one optimum. The prior of each position is its choices per impression.

    Args:
        moved: counts of pairs that were shown at several positions; others say nothing of positions.
        shown: of all pairs at each position, float64 [n_positions].
        chosen: of these, float64 [n_positions].

    Returns:
        float64 [n_positions], 1 for the position that is examined most: only ratios can be known.
    """
    rows, n_positions = moved.positions - 1, len(shown)
    n_pairs = int(moved.pairs.max(initial=-1)) + 1
    chosen_of_pair = np.bincount(moved.pairs, moved.chosen, n_pairs)
    chosen_at = np.bincount(rows, moved.chosen, n_positions)
    prior = at_first_sight(shown, chosen)
    examination = prior
    for _ in range(MAX_ROUNDS):
        examined = np.bincount(moved.pairs, moved.shown * examination[rows], n_pairs)
        attraction = chosen_of_pair / np.maximum(examined, 1e-12)
        expected_at = np.bincount(rows, moved.shown * attraction[moved.pairs], n_positions)
        updated = _as_shares((chosen_at + PRIOR_CHOICES * prior) / (expected_at + PRIOR_CHOICES))
        change = np.abs(updated - examination).max(initial=0.0)
        examination = updated
        if change < TOLERANCE:
            break
    return examination


def at_first_sight(shown: NDArray[np.float64], chosen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Choices per impression, 1 at the best position; of little data those of the position above.

    Args:
        shown: impressions by position, float64 [n_positions].
        chosen: of these, float64 [n_positions].
    """
    if not chosen.sum():
        return np.ones(len(shown))
    rates = np.empty(len(shown), np.float64)
    above = chosen.sum() / shown.sum()
    for row, (n_shown, n_chosen) in enumerate(zip(shown, chosen, strict=True)):
        above = (n_chosen + PRIOR_CHOICES) / (n_shown + PRIOR_CHOICES / above)
        rates[row] = above
    return _as_shares(rates)


def _as_shares(rates: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of the largest."""
    shares: NDArray[np.float64] = (rates / rates.max(initial=1e-12)).astype(np.float64)
    return shares
