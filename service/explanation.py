"""How a search came to its items, as an answer tells it."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from service.batcher import Decoded
from service.filters import FilterMask
from service.items import FilledBeams
from service.schemas import (
    ExplainedCode,
    ExplainedSid,
    Item,
    KeptPrefix,
    PrunedPrefix,
    SearchExplanation,
)
from service.snapshot import Snapshot
from sid import explain


def explanation_of(
    snapshot: Snapshot,
    decoded: Decoded,
    beams: FilledBeams,
    width: int,
    left: FilterMask,
    items: Sequence[Item],
) -> SearchExplanation:
    """Say how the SIDs of the items came about.

    Args:
        snapshot: what was searched.
        decoded: by a graph that explains.
        beams: what the search used of it.
        width: beams of the graph.
        left: what the filter of the search let through.
        items: in the answer.
    """
    sids = list(dict.fromkeys(tuple(item.sid) for item in items))
    leaf_of = dict(zip(map(tuple, beams.sids.tolist()), beams.leaves.tolist(), strict=True))
    leaves = np.array([leaf_of[sid] for sid in sids], dtype=np.int32)
    told = explain(snapshot.epoch.trie, decoded.rankings, width, leaves, left.alive)
    return SearchExplanation(
        sids=[
            ExplainedSid(sid=list(sid), codes=[ExplainedCode(**vars(step)) for step in steps])
            for sid, steps in zip(sids, told.steps, strict=True)
        ],
        root=KeptPrefix(**asdict(told.root)),
        kept=[[KeptPrefix(**asdict(one)) for one in level] for level in told.kept],
        pruned=[[PrunedPrefix(**asdict(one)) for one in level] for level in told.pruned],
    )
