"""How sure we can be: bootstrap over queries and seeds.

Queries and seeds are drawn again independently of one another (Owen, "The pigeonhole bootstrap", Annals of
Applied Statistics 1(2), 2007): both a model's luck with its queries and its luck with the order of sessions
move the mean. Two rows are compared on the same queries and seeds, draw by draw. Where query and seed act
together, these intervals are a little too wide; where seeds alone decide, three of them give intervals that
are too narrow.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from training.metrics import CONFIDENCE

RESAMPLES = 4000

Values = NDArray[np.float64]  # [n_seeds, n_queries]


@dataclass(frozen=True)
class Estimate:
    """A mean and the interval it moves in when queries and seeds are drawn again."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A mean difference with its interval, and how often a draw has it on the other side of 0.

    Attributes:
        p: two-sided; for this one comparison, not corrected for the number of comparisons.
    """

    p: float

    @property
    def sign(self) -> int:
        """1 or −1 where the interval excludes 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def estimate(values: Values, seed: int = 0) -> Estimate:
    """Mean of a row with its interval.

    Args:
        values: float64 [n_seeds, n_queries], at least one of each.
        seed: of the draws; the same for all rows.
    """
    return Estimate(float(values.mean()), *_interval(resampled_means(values, seed)))


def difference(ours: Values, theirs: Values, seed: int = 0) -> Difference:
    """How far one row is above another.

    Args:
        ours: float64 [n_seeds, n_queries].
        theirs: the same, of the same seeds and queries. Either may have a single seed, as the start does,
            which then stands against each seed of the other.
        seed: of the draws.
    """
    gaps = ours - theirs
    means = resampled_means(gaps, seed)
    # A difference of exactly 0 counts on both sides; with the one added, p is never 0.
    other_side = min(int((means <= 0).sum()), int((means >= 0).sum()))
    p = min(2 * (other_side + 1) / (RESAMPLES + 1), 1.0)
    return Difference(float(gaps.mean()), *_interval(means), p)


def resampled_means(values: Values, seed: int) -> NDArray[np.float64]:
    """The mean under each draw, float64 [RESAMPLES]."""
    seeds, queries = _draws(*values.shape, seed)
    means: NDArray[np.float64] = np.einsum("rq,rq->r", seeds @ values, queries)
    return means.round(12)  # what cancels out is 0, not a rounding error on one side of it


def _interval(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=4)
def _draws(n_seeds: int, n_queries: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much each seed and each query weighs in each draw: float64 [RESAMPLES, n], rows that sum to 1."""
    rng = np.random.default_rng(seed)
    seeds, queries = (rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in (n_seeds, n_queries))
    return seeds, queries
