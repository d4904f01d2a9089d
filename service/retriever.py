"""One search from query to items: assign, tokenize, decode, look up, order, answer."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import orjson

from service.batcher import Batcher, Decoded, Prompt
from service.cache import Result, ResultCache, key_of
from service.clock import Clock
from service.decoding import Decoding
from service.events import EventLog
from service.experiments import Arm, Assignment, Caller, Experiments
from service.explanation import explanation_of
from service.filters import FilterMask
from service.interleaving import interleaved
from service.items import FilledBeams, best_items
from service.limits import Limits
from service.live import LiveCatalogue
from service.metrics import Metrics
from service.problems import DeadlineError, InvalidRequestError, OverloadedError, ProblemError
from service.recent import RecentItems
from service.schemas import SearchExplanation, SearchRequest, SearchResponse
from service.snapshot import Snapshot
from service.tokenizer import Query
from service.tracing import Tracing
from service.variants import Variant
from sid import OrderingWeights

Setting = TypeVar("Setting")

NO_VARIANT = "none"  # in the metrics, of a search that is refused before experiments are asked
RECENT_SEARCHES = 1_000  # of a variant, over which its mean fill is told


class Retriever:
    """Answers searches; made once, used by all requests."""

    def __init__(
        self,
        catalogue: LiveCatalogue,
        experiments: Experiments,
        batcher: Batcher,
        store: RecentItems,
        cache: ResultCache,
        events: EventLog,
        limits: Limits,
        metrics: Metrics,
        tracing: Tracing,
    ) -> None:
        self._catalogue = catalogue
        self._experiments = experiments
        self._batcher = batcher
        self._store = store
        self._cache = cache
        self._events = events
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing
        self._recent_fills: dict[str, deque[float]] = {}

    def check_loop(self) -> None:
        """Refuse a search of which nothing is known yet, if the event loop is too far behind.

        Raises:
            OverloadedError: if so.
        """
        try:
            self._batcher.check_loop()
        except OverloadedError as error:
            self._metrics.searches.labels(NO_VARIANT, error.kind).inc()
            raise

    async def search(self, request: SearchRequest, caller: Caller, request_id: str) -> SearchResponse:
        """Answer one text query with items, best first.

        Args:
            request: what is asked, within the limits.
            caller: whom experiments assign.
            request_id: under which the exposure is logged.

        Raises:
            ProblemError: if the request asks for what cannot be given, comes at a bad time or takes too long.
        """
        asked = Decoding(beam_width=request.beam_width, ordering=request.ordering)
        assignment = await self._experiments.assign(caller, asked)
        if request.explain:
            assignment = assignment.alone
        # What this search lives in; nothing is awaited in between, so the variants are still there.
        sides = [(arm, self._catalogue.snapshot(arm.variant)) for arm in assignment.arms]
        timeout_s = (request.timeout_ms or self._limits.timeout_ms) / 1000
        outcome = "error"
        with self._tracing.search(request_id, assignment.variant) as span:
            try:
                async with asyncio.timeout(timeout_s):
                    deadline = asyncio.get_running_loop().time() + timeout_s
                    answers = await _side_by_side(
                        self._answer(request, arm, snapshot, request_id, deadline) for arm, snapshot in sides
                    )
                answer = answers[0]
                if assignment.interleaving is not None:
                    seed = f"{assignment.interleaving} {caller.id} {request.query}"
                    answer = interleaved(answers, assignment.labels, seed)
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
                for variant in {arm.variant for arm in assignment.arms}:
                    self._metrics.searches.labels(variant, outcome).inc()
                span.set_attribute("radsearch.outcome", outcome)
        _after_the_answer(self._expose, request, caller, assignment, sides, answer)
        return answer

    async def _answer(
        self, request: SearchRequest, arm: Arm, snapshot: Snapshot, request_id: str, deadline: float
    ) -> SearchResponse:
        """The answer of one variant."""
        clock = Clock()
        variant = snapshot.variant
        query = variant.bundle.tokenizer.encode(request.query)
        if query is None:
            raise InvalidRequestError("/query", "has no visible character")
        clock.stop("tokenize")
        k = request.k or self._limits.default_k
        search = _Search(snapshot, arm.decoding, query, request, k)
        if request.explain:
            result, explanation = await self._explained(search, clock, deadline)
        else:
            result, explanation = await self._found(search, clock, deadline), None
        clock.stop("total")
        self._tracing.stages(clock.spans())
        _after_the_answer(self._measure, variant.name, clock.stages, len(result.items) / k)
        return SearchResponse(
            request_id=request_id,
            items=list(result.items),
            requested=k,
            returned=len(result.items),
            exhausted=result.exhausted,
            degraded=list(result.degraded),
            cached=clock.decoded is None,
            variant=variant.name,
            model=variant.bundle.manifest.name,
            epoch=snapshot.epoch.id,
            timings_ms=clock.timings(),
            explanation=explanation,
            interleaved=None,
        )

    def recent_fill(self, variant: str) -> float | None:
        """Mean of items returned per item asked for, over the last searches; None before the first."""
        fills = self._recent_fills.get(variant)
        return sum(fills) / len(fills) if fills else None

    def _measure(self, variant: str, stages: Mapping[str, float], fill: float) -> None:
        """Tell what a search took, in seconds, and how many items it gave per item asked for."""
        for stage, seconds in stages.items():
            self._metrics.stage(stage).observe(seconds)
        self._metrics.search_seconds.labels(variant).observe(stages["total"])
        self._metrics.fill.labels(variant).observe(fill)
        self._recent_fills.setdefault(variant, deque(maxlen=RECENT_SEARCHES)).append(fill)

    async def _found(self, search: "_Search", clock: Clock, deadline: float) -> Result:
        """The result from the cache, or of a search."""
        key = search.key
        result = await self._cache.get(key, deadline)
        if result is not None:
            return result
        width, is_shrunk = self._beam_width(search)
        prompt, left = await search.prompt(width)
        clock.decoded = decoded = await self._batcher.decode(prompt, deadline)
        clock.start()
        work = partial(self._items, search, decoded, left, width, is_shrunk, deadline)
        result = await self._cache.once(key, work)
        clock.stop("items")
        return result

    async def _explained(
        self, search: "_Search", clock: Clock, deadline: float
    ) -> tuple[Result, SearchExplanation]:
        """The result of a search, and how it came about."""
        width = search.beam_width
        prompt, left = await search.prompt(width)
        clock.decoded = decoded = await self._batcher.decode(prompt, deadline)
        clock.start()
        result = await self._items(search, decoded, left, width, False, deadline)
        clock.stop("items")
        beams = FilledBeams.best(decoded, width)
        told = explanation_of(search.snapshot, decoded, beams, prompt.graph_width, left, result.items)
        return result, told

    async def _items(
        self,
        search: "_Search",
        decoded: Decoded,
        left: FilterMask,
        width: int,
        is_shrunk: bool,
        deadline: float,
    ) -> Result:
        beams = FilledBeams.best(decoded, width)
        items, is_degraded = await best_items(
            self._store,
            search.snapshot,
            search.query,
            decoded,
            beams,
            left,
            search.weights,
            search.decoding.max_per_sid,
            search.k,
            deadline,
        )
        return Result(
            items=tuple(items),
            exhausted=len(items) < search.k and len(beams.leaves) == left.n_leaves,
            degraded=("beam",) * is_shrunk + ("redis",) * is_degraded,
        )

    def _beam_width(self, search: "_Search") -> tuple[int, bool]:
        """How many beams to look for, and whether these are fewer than it would be with less to do.

        From half of the longest wait on, searches that leave it to us go down the exported beam widths: a
        somewhat worse answer for all is better than none for some.
        """
        widths = search.variant.engine.beam_widths
        share = max(0.0, min(1.0, 2 * (1 - self._batcher.pressure)))
        if search.request.beam_width is not None or share >= 1 or len(widths) == 1:
            return search.beam_width, False
        width = min(search.beam_width, widths[int(share * (len(widths) - 1))])
        is_shrunk = width < search.beam_width
        self._metrics.shrunk.inc(is_shrunk)
        return width, is_shrunk

    def _expose(
        self,
        request: SearchRequest,
        caller: Caller,
        assignment: Assignment,
        sides: Sequence[tuple[Arm, Snapshot]],
        answer: SearchResponse,
    ) -> None:
        """Log what was shown to whom; events join it by request_id."""
        mixed = answer.interleaved
        self._events.record(
            {
                "type": "search",
                "request_id": answer.request_id,
                "user_id": caller.user_id,
                "anonymous_id": caller.anonymous_id,
                "experiments": assignment.experiments,
                "variant": answer.variant,
                "model": answer.model,
                "epoch": answer.epoch,
                "query": request.query,
                "filters": request.filters,
                "k": answer.requested,
                "beam_width": _if_alike(
                    snapshot.variant.beam_width(arm.decoding.beam_width) for arm, snapshot in sides
                ),
                "ordering": _if_alike(arm.decoding.ordering for arm, _ in sides),
                "items": [item.item_id for item in answer.items],
                "sids": [item.sid for item in answer.items],
                "scores": [item.score for item in answer.items],
                "degraded": answer.degraded,
                "exhausted": answer.exhausted,
                "total_ms": answer.timings_ms.total,
                "interleaved": mixed and {"experiment": assignment.interleaving, **mixed.model_dump()},
            }
        )


def _after_the_answer(work: Callable[..., None], *args: object) -> None:
    """Do what an answer need not wait for in the next turn of the event loop, when it has been sent."""
    asyncio.get_running_loop().call_soon(work, *args)


def _if_alike(values: Iterable[Setting]) -> Setting | None:
    """What all sides have; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None


async def _side_by_side(
    searches: Iterable[Coroutine[Any, Any, SearchResponse]],
) -> list[SearchResponse]:
    """The answers of all searches; when one fails, or nobody waits any more, all end."""
    first, *others = searches
    if not others:  # as nearly always; a task would take a turn of the loop
        return [await first]
    tasks = [asyncio.create_task(search) for search in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(frozen=True)
class _Search:
    """What one search is about."""

    snapshot: Snapshot
    decoding: Decoding
    query: Query
    request: SearchRequest
    k: int

    @property
    def variant(self) -> Variant:
        """That searches."""
        return self.snapshot.variant

    @property
    def beam_width(self) -> int:
        """How many beams are asked for."""
        return self.variant.beam_width(self.decoding.beam_width)

    @property
    def weights(self) -> OrderingWeights:
        """What scores are made of."""
        ordering = self.variant.bundle.ordering
        return replace(ordering, **self.decoding.ordering) if self.decoding.ordering else ordering

    @property
    def key(self) -> str:
        """Name of the result in the cache."""
        filters = orjson.dumps(self.request.filters, option=orjson.OPT_SORT_KEYS)
        settings = self.beam_width, self.weights, self.decoding.max_per_sid
        return key_of(self.snapshot.fingerprint, self.query, filters, self.k, *settings)

    async def prompt(self, width: int) -> tuple[Prompt, FilterMask]:
        """What to decode for ``width`` beams, and the items that the filter leaves over."""
        filters, engine = self.snapshot.filters, self.variant.engine
        mask = await filters.mask(self.request.filters) if self.request.filters else None
        graph_width = engine.graph_width(width)
        prompt = Prompt(engine, self.snapshot.trie, graph_width, self.query, mask, self.request.explain)
        return prompt, mask or filters.everything
