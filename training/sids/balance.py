"""Balanced codebooks: no code takes more than its share, by a price on each centroid."""

import math

import faiss
import numpy as np
from numpy.typing import NDArray

SLACK = (
    1.5  # a code's capacity over the mean; nearer to 1 costs more reconstruction than it spreads the items
)
MOVES = 10  # of the centroids
ROUNDS = 20  # of bidding between two moves
LAST_ROUNDS = 200  # after the last move, most often enough for every code to keep within its capacity
FADE = 0.8  # share of the prices that outlives a move
INCREMENT = 0.01  # least rise of a price, as a share of the mean squared distance; ends wars over equal items
MOVING_POINTS = 256  # vectors per centroid, at most, that move it
PRICING_POINTS = 1024  # and that set its last price: prices of fewer do not hold for the rest as well

Vectors = NDArray[np.float32]


def balance(vectors: Vectors, codebook: Vectors, seed: int) -> tuple[Vectors, Vectors]:
    """Move centroids and price them so that each is nearest to at most ⌈1.5 · n / V⌉ of the n vectors.

    Where n is large beside V this holds for a sample, and for the rest nearly.

    Takes turns like Lloyd's algorithm: share the vectors out within the capacity, see :func:`share_out`; move
    every centroid to the mean of its own. The prices become the codebook's bias, so that a new item finds its
    code by :func:`sid.quantizer.nearest_centroids`, as before.

    Equal vectors have equal codes at any prices, so they count as one vector here.

    Args:
        vectors: float32 [n, d].
        codebook: float32 [V, d], from k-means.
        seed: of the samples.

    Returns:
        The codebook, float32 [V, d], and its bias, float32 [V], ≥ 0.
    """
    if len(codebook) == 1:
        return codebook, np.zeros(1, dtype=np.float32)
    movers = _distinct(_sample(vectors, len(codebook) * MOVING_POINTS, seed))
    prices = np.zeros(len(codebook), dtype=np.float32)
    for _ in range(MOVES):
        codes, prices = share_out(movers, codebook, FADE * prices, _capacity(movers, codebook), ROUNDS)
        codebook = _means(movers, codes, codebook)
    pricers = _distinct(_sample(vectors, len(codebook) * PRICING_POINTS, seed))
    _, prices = share_out(pricers, codebook, FADE * prices, _capacity(pricers, codebook), LAST_ROUNDS)
    return codebook, prices


def share_out(
    vectors: Vectors, codebook: Vectors, prices: Vectors, capacity: int, rounds: int
) -> tuple[NDArray[np.int64], Vectors]:
    """Raise the prices of overloaded centroids until each is nearest to at most ``capacity`` vectors.

    An auction (Bertsekas, "Auction algorithms for network flow problems", 1992) in which centroids set the
    price: a vector goes where |x − c|² + price is least; its margin is how much more the next centroid costs;
    a centroid with k vectors too many raises its price by its k-th smallest margin and a little more, so that
    these k leave. Prices only rise. A raise concerns none but the centroid's own vectors, so only those of
    overloaded centroids are compared again; a margin kept from an earlier round can only be too small, which
    makes a raise too small and the next round finish it.

    Args:
        vectors: float32 [n, d].
        codebook: float32 [V, d], V ≥ 2.
        prices: float32 [V], to start from.
        capacity: vectors per centroid, ≥ n / V.
        rounds: at most.

    Returns:
        Codes int64 [n], and prices float32 [V]. The codes keep to the capacity unless the rounds ran out.
    """
    codes = np.zeros(len(vectors), dtype=np.int64)
    margins = np.zeros(len(vectors), dtype=np.float32)
    norms = np.einsum("vd,vd->v", codebook, codebook)
    # 2x·c − |c|² − price, the distance's negative less |x|², as one inner product.
    extended = np.concatenate([2 * vectors, np.ones((len(vectors), 1), np.float32)], axis=1)
    bidders = np.arange(len(vectors))
    step = 0.0
    for round_ in range(rounds):
        offers = np.concatenate([codebook, -(norms + prices)[:, None]], axis=1)
        values, found = faiss.knn(extended[bidders], offers, 2, metric=faiss.METRIC_INNER_PRODUCT)
        codes[bidders], margins[bidders] = found[:, 0], values[:, 0] - values[:, 1]
        if round_ == 0:
            step = INCREMENT * float(np.square(vectors - codebook[codes]).sum(axis=1).mean())
        sizes = np.bincount(codes, minlength=len(codebook))
        crowded = np.flatnonzero(sizes > capacity)
        if not len(crowded):
            break
        by_margin = np.lexsort((margins, codes))
        last_to_leave = np.cumsum(sizes)[crowded] - capacity - 1
        prices = prices.copy()
        prices[crowded] += margins[by_margin[last_to_leave]] + np.float32(step)
        bidders = np.flatnonzero((sizes > capacity)[codes])
    return codes, prices


def _capacity(vectors: Vectors, codebook: Vectors) -> int:
    return math.ceil(SLACK * len(vectors) / len(codebook))


def _means(vectors: Vectors, codes: NDArray[np.int64], codebook: Vectors) -> Vectors:
    """The mean of each centroid's vectors; a centroid without any stays."""
    sizes = np.bincount(codes, minlength=len(codebook))
    used = np.flatnonzero(sizes)
    starts = (np.cumsum(sizes) - sizes)[used]
    moved = codebook.copy()
    moved[used] = np.add.reduceat(vectors[np.argsort(codes, kind="stable")], starts) / sizes[used, None]
    return moved


def _sample(vectors: Vectors, at_most: int, seed: int) -> Vectors:
    if len(vectors) <= at_most:
        return vectors
    return vectors[np.random.default_rng(seed).choice(len(vectors), at_most, replace=False)]


def _distinct(vectors: Vectors) -> Vectors:
    whole = np.ascontiguousarray(vectors + 0.0)  # + 0.0 makes −0.0 the same number as 0.0
    rows = whole.view(np.dtype((np.void, whole.itemsize * whole.shape[1])))[:, 0]
    return whole[np.sort(np.unique(rows, return_index=True)[1])]
