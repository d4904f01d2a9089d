"""From the leaves a beam search found to items, best first."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class OrderingWeights:
    """What an item's score is made of: log p(SID) + tau · cos(query, item) + prior · popularity.

    Tuned on validation queries and stored with the model.
    """

    tau: float = 0.0
    prior: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Plain form for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class RankedItems:
    """Items of one answer, best first.

    Attributes:
        items: int32 [n], item rows.
        scores: float32 [n], descending; ties by item row.
        beams: int32 [n], the beam (index into the search's K) whose SID the item has.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    beams: NDArray[np.int32]


def order_items(
    postings: list[NDArray[np.int32]],
    log_probs: NDArray[np.float32],
    query_vector: NDArray[np.float32],
    item_vectors: NDArray[np.float32],
    item_prior: NDArray[np.float32],
    weights: OrderingWeights,
    k: int,
    item_mask: NDArray[np.bool_] | None = None,
) -> RankedItems:
    """Score the items of all found SIDs by one sum and keep the best k.

    Args:
        postings: item rows of each found SID, one array per beam, empty for an unfilled one. Beams are
            different SIDs, so no item occurs twice.
        log_probs: float32 [n_beams], log p(SID | query).
        query_vector: float32 [d], unit length.
        item_vectors: float32 [n_items, d], unit rows.
        item_prior: float32 [n_items], log-popularity scaled to 0..1.
        weights: tau and prior.
        k: how many items at most, ≥ 0.
        item_mask: bool [n_items]; false rows are left out (a filter). None keeps all.

    Returns:
        At most k items; fewer when the postings hold fewer.
    """
    sizes = [len(posting) for posting in postings]
    beams = np.repeat(np.arange(len(postings), dtype=np.int32), sizes)
    items = np.concatenate(postings) if postings else np.empty(0, np.int32)
    if item_mask is not None:
        kept = item_mask[items]
        items, beams = items[kept], beams[kept]
    scores = log_probs[beams] + weights.prior * item_prior[items]
    if weights.tau:
        scores = scores + weights.tau * (item_vectors[items] @ query_vector)
    best = np.lexsort((items, -scores))[:k]
    return RankedItems(items[best], scores[best].astype(np.float32), beams[best])
