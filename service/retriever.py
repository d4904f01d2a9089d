"""One search from query to items: assign, tokenize, decode, look up, order, answer."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from service.batcher import Batcher, Decoded, Prompt
from service.events import EventLog
from service.experiments import Assignment, Caller, Experiments
from service.filters import FilterMask
from service.limits import Limits
from service.live import LiveCatalogue
from service.metrics import Metrics
from service.problems import DeadlineError, InvalidRequestError, ProblemError
from service.schemas import (
    ExplainedCode,
    ExplainedSid,
    Item,
    PrunedPrefix,
    SearchExplanation,
    SearchRequest,
    SearchResponse,
    Timings,
)
from service.snapshot import Snapshot
from service.store import ItemStore
from service.tokenizer import Query
from service.variants import Variant
from sid import QueryFeatures, explain, order_items


@dataclass(frozen=True)
class _Beams:
    """The filled beams that a search uses, best first.

    Attributes:
        leaves: int32 [n]; sids: int32 [n, L]; log_probs: float32 [n].
    """

    leaves: NDArray[np.int32]
    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]

    @classmethod
    def best(cls, decoded: Decoded, beam_width: int) -> "_Beams":
        """The best ``beam_width`` beams without unfilled ones, which stand last."""
        n = min(beam_width, int((decoded.leaves >= 0).sum()))
        return cls(decoded.leaves[:n], decoded.sids[:n], decoded.log_probs[:n])


class Retriever:
    """Answers searches; made once, used by all requests."""

    def __init__(
        self,
        variants: Mapping[str, Variant],
        catalogue: LiveCatalogue,
        experiments: Experiments,
        batcher: Batcher,
        store: ItemStore,
        events: EventLog,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._variants = variants
        self._catalogue = catalogue
        self._experiments = experiments
        self._batcher = batcher
        self._store = store
        self._events = events
        self._limits = limits
        self._metrics = metrics

    async def search(self, request: SearchRequest, caller: Caller, request_id: str) -> SearchResponse:
        """Answer one text query with items, best first.

        Args:
            request: what is asked, within the limits.
            caller: whom experiments assign.
            request_id: under which the exposure is logged.

        Raises:
            ProblemError: if the request asks for what cannot be given, comes at a bad time or takes too long.
        """
        assignment = await self._experiments.assign(caller)
        timeout_s = (request.timeout_ms or self._limits.timeout_ms) / 1000
        outcome = "error"
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._answer(request, assignment, request_id, timeout_s)
            outcome = "degraded" if answer.degraded else "ok"
        except TimeoutError as error:
            outcome = DeadlineError.kind
            raise DeadlineError(
                f"no answer within {1000 * timeout_s:.0f} ms; allow more or try again"
            ) from error
        except ProblemError as error:
            outcome = error.kind
            raise
        except asyncio.CancelledError:
            outcome = "client-gone"
            raise
        finally:
            self._metrics.searches.labels(assignment.variant, outcome).inc()
        self._expose(request, caller, assignment, answer)
        return answer

    async def _answer(
        self, request: SearchRequest, assignment: Assignment, request_id: str, timeout_s: float
    ) -> SearchResponse:
        deadline = asyncio.get_running_loop().time() + timeout_s
        clock = time.perf_counter  # uvloop's clock counts whole milliseconds
        started = clock()
        variant = self._variants[assignment.variant]
        snapshot = self._catalogue.snapshot(variant.name)  # the one that this search lives in
        k = request.k or self._limits.default_k
        beam_width = request.beam_width or variant.engine.beam_widths[-1]

        query = variant.bundle.tokenizer.encode(request.query)
        if query is None:
            raise InvalidRequestError("/query", "has no visible character")
        tokenized = clock()
        mask = await snapshot.filters.mask(request.filters) if request.filters else None
        left = mask or snapshot.filters.everything
        width = variant.engine.graph_width(beam_width)
        prompt = Prompt(variant.engine, snapshot.trie, width, query, mask, request.explain)
        decoded = await self._batcher.decode(prompt, deadline)
        beams = _Beams.best(decoded, beam_width)
        decoding_ended = clock()
        items, is_degraded = await self._items(variant, snapshot, query, decoded, beams, left, k)
        ended = clock()

        self._metrics.stage("tokenize").observe(tokenized - started)
        self._metrics.stage("items").observe(ended - decoding_ended)
        self._metrics.stage("total").observe(ended - started)
        self._metrics.fill.observe(len(items) / k)
        return SearchResponse(
            request_id=request_id,
            items=items,
            requested=k,
            returned=len(items),
            exhausted=len(items) < k and len(beams.leaves) == left.n_leaves,
            degraded=["redis"] if is_degraded else [],
            variant=variant.name,
            model=variant.bundle.manifest.name,
            epoch=snapshot.epoch.id,
            timings_ms=Timings(
                tokenize=_ms(tokenized - started),
                queue=_ms(decoded.queue_s),
                decode=_ms(decoded.decode_s),
                items=_ms(ended - decoding_ended),
                total=_ms(ended - started),
            ),
            explanation=_explanation(snapshot, decoded, beams, width, items) if request.explain else None,
        )

    async def _items(
        self,
        variant: Variant,
        snapshot: Snapshot,
        query: Query,
        decoded: Decoded,
        beams: _Beams,
        left: FilterMask,
        k: int,
    ) -> tuple[list[Item], bool]:
        """Best k items of the beams' SIDs, and whether Redis should have told of them and was away."""
        if not len(beams.leaves):
            return [], False
        postings = await self._store.postings(snapshot.epoch, beams.leaves, beams.sids)
        terms = snapshot.features.lexical.query(query.text)
        ranked = order_items(
            postings.value,
            beams.log_probs,
            QueryFeatures(decoded.query_vector, decoded.query_embedding, terms),
            snapshot.features,
            variant.bundle.ordering,
            k,
            left.items,
        )
        payloads = await self._store.items(snapshot.epoch, ranked.items)
        sids = beams.sids[ranked.beams].tolist()
        items = [
            Item(score=score, sid=sid, **payload)
            for score, sid, payload in zip(ranked.scores.tolist(), sids, payloads.value, strict=True)
        ]
        return items, postings.is_degraded or payloads.is_degraded

    def _expose(
        self, request: SearchRequest, caller: Caller, assignment: Assignment, answer: SearchResponse
    ) -> None:
        """Log what was shown to whom; events join it by request_id."""
        self._events.record(
            {
                "type": "search",
                "request_id": answer.request_id,
                "user_id": caller.user_id,
                "anonymous_id": caller.anonymous_id,
                "experiment": assignment.experiment,
                "variation": assignment.variation,
                "variant": answer.variant,
                "model": answer.model,
                "epoch": answer.epoch,
                "query": request.query,
                "filters": request.filters,
                "k": answer.requested,
                "beam_width": request.beam_width,
                "items": [item.item_id for item in answer.items],
                "sids": [item.sid for item in answer.items],
                "scores": [item.score for item in answer.items],
                "degraded": answer.degraded,
            }
        )


def _explanation(
    snapshot: Snapshot, decoded: Decoded, beams: _Beams, width: int, items: Sequence[Item]
) -> SearchExplanation:
    """Say how the SIDs of the items came about."""
    sids = list(dict.fromkeys(tuple(item.sid) for item in items))
    leaf_of = dict(zip(map(tuple, beams.sids.tolist()), beams.leaves.tolist(), strict=True))
    leaves = np.array([leaf_of[sid] for sid in sids], dtype=np.int32)
    told = explain(snapshot.epoch.trie, decoded.rankings, width, leaves)
    return SearchExplanation(
        sids=[
            ExplainedSid(sid=list(sid), codes=[ExplainedCode(**vars(step)) for step in steps])
            for sid, steps in zip(sids, told.steps, strict=True)
        ],
        pruned=[[PrunedPrefix(**asdict(one)) for one in level] for level in told.pruned],
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
