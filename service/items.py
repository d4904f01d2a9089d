"""From the beams of a search to its items: look up, order, describe."""

import asyncio
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.batcher import Decoded
from service.filters import FilterMask
from service.recent import RecentItems
from service.schemas import Item
from service.snapshot import Snapshot
from service.tokenizer import Query
from sid import OrderingWeights, QueryFeatures, order_items

ORDERED_AT_ONCE = 2_000  # items that cost less to order than a way to a thread and back would


@dataclass(frozen=True)
class FilledBeams:
    """The beams that a search uses, best first.

    Attributes:
        leaves: int32 [n]; sids: int32 [n, L]; log_probs: float32 [n].
    """

    leaves: NDArray[np.int32]
    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]

    @classmethod
    def best(cls, decoded: Decoded, beam_width: int) -> "FilledBeams":
        """The best ``beam_width`` beams without unfilled ones, which stand last."""
        n = min(beam_width, int((decoded.leaves >= 0).sum()))
        return cls(decoded.leaves[:n], decoded.sids[:n], decoded.log_probs[:n])


async def best_items(
    store: RecentItems,
    snapshot: Snapshot,
    query: Query,
    decoded: Decoded,
    beams: FilledBeams,
    left: FilterMask,
    weights: OrderingWeights,
    max_per_sid: int | None,
    k: int,
    deadline: float,
) -> tuple[list[Item], bool]:
    """Find the best items of the beams' SIDs.

    Args:
        store: knows postings and payloads.
        snapshot: the catalogue that the search lives in.
        query: what is asked.
        decoded: its vectors.
        beams: what was found for it.
        left: the items that its filter leaves over.
        weights: what scores are made of.
        max_per_sid: how many items of one SID at most; None takes all.
        k: how many items at most.
        deadline: of the search, by the event loop's clock.

    Returns:
        The items, best first, and whether Redis should have told of them and was away.
    """
    if not len(beams.leaves):
        return [], False
    postings = await store.postings(snapshot.epoch, beams.leaves, beams.sids, deadline)
    features = QueryFeatures(
        decoded.query_vector, decoded.query_embedding, snapshot.features.lexical.query(query.text)
    )
    order = partial(
        order_items,
        postings.value,
        beams.log_probs,
        features,
        snapshot.features,
        weights,
        k,
        left.items,
        max_per_sid,
    )
    ranked = order() if len(postings.value) <= ORDERED_AT_ONCE else await asyncio.to_thread(order)
    payloads = await store.items(snapshot.epoch, ranked.items, deadline)
    sids = beams.sids[ranked.beams].tolist()
    items = [
        Item(score=score, sid=sid, **payload)
        for score, sid, payload in zip(ranked.scores.tolist(), sids, payloads.value, strict=True)
    ]
    return items, postings.is_degraded or payloads.is_degraded
