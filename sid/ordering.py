"""From the leaves a beam search found to items, best first."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from sid.lexical import LexicalIndex
from sid.postings import Postings

Rows = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OrderingWeights:
    """What an item's score is made of.

    log p(SID) + tau · cos of the learned vectors + embedding · cos of the embeddings they are learned from +
    words · BM25 of words + trigrams · BM25 of trigrams + prior · popularity. Tuned on validation queries and
    stored with the model.
    """

    tau: float = 0.0
    prior: float = 0.0
    words: float = 0.0
    trigrams: float = 0.0
    embedding: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Plain form for JSON."""
        return asdict(self)

    def of_parts(self) -> Floats:
        """The weight of each column of :meth:`ItemFeatures.parts`, float32 [6]."""
        weights = (1.0, self.tau, self.embedding, self.words, self.trigrams, self.prior)
        return np.array(weights, dtype=np.float32)


@dataclass(frozen=True)
class ItemFeatures:
    """What the items of a catalogue are scored by.

    Attributes:
        vectors: float32 [n_items, d], unit rows.
        embeddings: float32 [n_items, e], unit rows.
        lexical: BM25 over their texts.
        prior: float32 [n_items], log-popularity scaled to 0..1.
    """

    vectors: Floats
    embeddings: Floats
    lexical: LexicalIndex
    prior: Floats

    def parts(
        self,
        items: Rows,
        log_probs: Floats,
        query: "QueryFeatures",
        weights: OrderingWeights | None = None,
    ) -> Floats:
        """The parts that the scores of items are sums of.

        Args:
            items: int32 [n], item rows.
            log_probs: float32 [n], of their SIDs.
            query: what is asked.
            weights: parts that have none here stay 0 and are not worked out, which for a wide beam's items is
                much of the work; None works out all.

        Returns:
            float32 [n, 6]: log p(SID), cosines of vectors and of embeddings, BM25 of words and of trigrams,
            popularity.
        """
        counts = np.ones(6, dtype=bool) if weights is None else weights.of_parts() != 0
        parts = np.zeros((len(items), 6), dtype=np.float32)
        parts[:, 0] = log_probs
        if counts[1]:
            parts[:, 1] = self.vectors[items] @ query.vector
        if counts[2]:
            parts[:, 2] = self.embeddings[items] @ query.embedding
        if counts[3:5].any():
            parts[:, 3:5] = self.lexical.scores(query.terms, items)
        if counts[5]:
            parts[:, 5] = self.prior[items]
        return parts


@dataclass(frozen=True)
class QueryFeatures:
    """What a query is compared by.

    Attributes:
        vector: float32 [d], unit length.
        embedding: float32 [e], unit length, or zeros.
        terms: int32 [m], from ``LexicalIndex.query``.
    """

    vector: Floats
    embedding: Floats
    terms: Rows


@dataclass(frozen=True)
class RankedItems:
    """Items of one answer, best first.

    Attributes:
        items: int32 [n], item rows.
        scores: float32 [n], descending; ties by item row.
        beams: int32 [n], the beam (index into the search's K) whose SID the item has.
    """

    items: Rows
    scores: Floats
    beams: Rows


def order_items(
    postings: Postings,
    log_probs: Floats,
    query: QueryFeatures,
    catalogue: ItemFeatures,
    weights: OrderingWeights,
    k: int,
    item_mask: NDArray[np.bool_] | None = None,
    max_per_sid: int | None = None,
) -> RankedItems:
    """Score the items of all found SIDs by one sum and keep the best k.

    Args:
        postings: of the SIDs found. Beams are different SIDs, so no item occurs twice.
        log_probs: float32 [n_beams], log p(SID | query).
        query: what is asked.
        catalogue: all items.
        weights: of the parts of a score.
        k: how many items at most, ≥ 0.
        item_mask: bool [n_items]; false rows are left out (a filter). None keeps all.
        max_per_sid: how many items of one SID at most, ≥ 1, so that those of a crowded one do not fill the
            answer. None keeps all.

    Returns:
        At most k items; fewer when the postings hold fewer.
    """
    if item_mask is not None:
        postings = postings.only(item_mask[postings.items])
    log_probs = log_probs[postings.beams]
    scores = catalogue.parts(postings.items, log_probs, query, weights) @ weights.of_parts()
    if max_per_sid is not None:
        spread = _best_of_each(postings.beams, postings.items, scores, max_per_sid)
        postings, scores = postings.only(spread), scores[spread]
    best = best_first(postings.items, scores, k)
    return RankedItems(postings.items[best], scores[best], postings.beams[best])


def best_first(items: Rows, scores: Floats, k: int) -> NDArray[np.int64]:
    """Where the k highest scores stand, best first, ties by item row: int64 [min(k, n)]."""
    if k == 0 or not len(scores):
        return np.empty(0, np.int64)
    # Sorting thousands of candidates for ten results would be most of the work.
    kth = np.partition(scores, -k)[-k] if k < len(scores) else scores.min()
    candidates = np.flatnonzero(scores >= kth)
    return candidates[np.lexsort((items[candidates], -scores[candidates]))][:k]


def _best_of_each(beams: Rows, items: Rows, scores: Floats, n: int) -> NDArray[np.int64]:
    """Where the n highest scores of each beam stand; ``beams`` is ascending."""
    order = np.lexsort((items, -scores, beams))  # leaves the beams in place
    return order[np.arange(len(beams)) - np.searchsorted(beams, beams) < n]
