"""The endpoints of the API: parse, ask, answer."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from service.access import FORCED_BY, require_search
from service.connection import Browser, while_connected
from service.experiments import Caller
from service.metrics import Metrics
from service.problems import MediaTypeError, ProblemError, error_document
from service.rate_limit import RateCaller
from service.running_experiments import running_experiments
from service.schemas import (
    Attribute,
    BatchRequest,
    BatchResponse,
    EventRequest,
    EventResponse,
    ExperimentsResponse,
    Model,
    ModelsResponse,
    Problem,
    SearchRequest,
    SearchResponse,
)
from service.snapshot import Snapshot
from service.state import Service


# Dependencies are coroutines: FastAPI would run plain functions in threads, which costs more than they do.
async def get_service(request: Request) -> Service:
    """What is loaded."""
    service: Service = request.app.state.service
    return service


async def get_metrics(request: Request) -> Metrics:
    """What is measured."""
    metrics: Metrics = request.app.state.metrics
    return metrics


async def get_request_id(request: Request) -> str:
    """The id that the middleware gave to this request."""
    request_id: str = request.state.request_id
    return request_id


async def require_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON.

    Raises:
        MediaTypeError: naming what was sent.
    """
    declared = request.headers.get("content-type", "")
    media_type = declared.partition(";")[0].strip().lower()
    if not (media_type == "application/json" or media_type.endswith("+json")):
        raise MediaTypeError(f"the body is {declared or 'of no declared type'!r:.80}, send application/json")


ServiceDep = Annotated[Service, Depends(get_service)]
RequestId = Annotated[str, Depends(get_request_id)]
ForcedVariant = Annotated[
    str | None,
    Header(
        alias=FORCED_BY,
        max_length=64,
        description="Variant to answer, whatever experiments say; needs an admin key where there are keys.",
    ),
]
PROBLEMS = {
    400: "The body is not JSON.",
    401: "A key is needed, and none or an unknown one came.",
    403: "The key does not allow this.",
    408: "The body did not arrive in time.",
    409: "What is asked does not go with what is there.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    422: "A value cannot be used.",
    429: "Too many searches wait, or this caller sends too many; come back after Retry-After seconds.",
    503: "Something that is needed is away.",
    504: "The deadline passed.",
}


def may_fail(*codes: int) -> dict[int | str, dict[str, Any]]:
    """How an operation may fail, for the OpenAPI document."""
    return {code: {"model": Problem, "description": PROBLEMS[code]} for code in codes}


router = APIRouter(prefix="/v1", dependencies=[Depends(require_search)], responses=may_fail(401, 403))


@router.post(
    "/search",
    tags=["search"],
    dependencies=[Depends(require_json)],
    responses=may_fail(400, 408, 413, 415, 422, 429, 504),
    response_model=SearchResponse,
)
async def search(
    body: SearchRequest,
    request: Request,
    forced: ForcedVariant = None,
) -> Response:
    """Answer one text query with items, best first."""
    service = await get_service(request)  # as a dependency, FastAPI would resolve it for more than it costs
    service.limits.check_search(body)
    service.rate_limit.spend(RateCaller.of(request), 1)
    browser = Browser.of(request, is_needed=body.user_id is None)
    caller = Caller(body.user_id, browser.id, body.attributes or {}, forced)
    answer = await while_connected(request, service.retriever.search(body, caller, request.state.request_id))
    _note(request, [answer])
    return _written(answer, browser)


@router.post(
    "/search/batch",
    tags=["search"],
    dependencies=[Depends(require_json)],
    responses=may_fail(400, 408, 413, 415, 422, 429),
    response_model=BatchResponse,
)
async def search_batch(
    body: BatchRequest,
    request: Request,
    service: ServiceDep,
    request_id: RequestId,
    forced: ForcedVariant = None,
) -> Response:
    """Answer several queries; each has its own request_id, and its own problem where it fails."""
    service.limits.check_batch(body)
    if forced is not None:
        service.experiments.check_loaded(forced)
    service.rate_limit.spend(RateCaller.of(request), len(body.searches))
    somebody_unknown = any(search.user_id is None for search in body.searches)
    browser = Browser.of(request, is_needed=somebody_unknown)
    callers = [Caller(each.user_id, browser.id, each.attributes or {}, forced) for each in body.searches]
    results = await while_connected(request, _search_each(service, body.searches, callers, request_id))
    _note(request, [result for result in results if isinstance(result, SearchResponse)])
    return _written(BatchResponse(request_id=request_id, results=results), browser)


@router.post(
    "/events",
    tags=["events"],
    status_code=202,
    dependencies=[Depends(require_json)],
    responses=may_fail(400, 408, 413, 415, 422, 429, 503),
)
async def add_event(
    body: EventRequest,
    request: Request,
    response: Response,
    service: ServiceDep,
    metrics: Annotated[Metrics, Depends(get_metrics)],
    request_id: RequestId,
) -> EventResponse:
    """Take note of a click, a cart or a purchase; answered when it is on the disk.

    However late it comes. With an ``event_id`` it may be sent again and counts once.
    """
    service.rate_limit.spend(RateCaller.of(request), 1)
    browser = Browser.of(request, is_needed=body.user_id is None)
    browser.give_id(response)
    if await service.events.append({**body.model_dump(), "anonymous_id": browser.id}):
        metrics.events.labels(body.type).inc()
    return EventResponse(request_id=request_id)


@router.get("/models", tags=["service"])
async def list_models(service: ServiceDep) -> ModelsResponse:
    """Tell what is served."""
    return ModelsResponse(
        models=[_describe(service, snapshot) for snapshot in service.catalogue.offer.snapshots.values()],
        examples=list(service.examples),
    )


@router.get("/experiments", tags=["service"])
async def list_experiments(service: ServiceDep) -> ExperimentsResponse:
    """Tell which experiments run, and how variants are assigned."""
    experiments, variants = service.experiments, list(service.catalogue.offer.snapshots)
    return ExperimentsResponse(
        variants=variants,
        default=experiments.default,
        experiments=running_experiments(experiments.rules, variants),
        features=dict(experiments.rules.features),
        problem=experiments.problem,
    )


def _note(request: Request, answers: Sequence[SearchResponse]) -> None:
    """Keep for the request's log line what its answers were made by."""
    request.state.variants = sorted({answer.variant for answer in answers})
    request.state.degraded = sorted({reason for answer in answers for reason in answer.degraded})


def _written(answer: SearchResponse | BatchResponse, browser: Browser) -> Response:
    """The answer as it is sent; FastAPI would validate it again and write it more slowly."""
    response = Response(answer.model_dump_json(), media_type="application/json")
    browser.give_id(response)
    return response


async def _search_each(
    service: Service, searches: list[SearchRequest], callers: list[Caller], request_id: str
) -> list[SearchResponse | Problem]:
    """Search side by side, so that the device gets one batch."""
    return await asyncio.gather(
        *(
            _answer_or_problem(service, search, caller, f"{request_id}-{n}")
            for n, (search, caller) in enumerate(zip(searches, callers, strict=True))
        )
    )


async def _answer_or_problem(
    service: Service, search: SearchRequest, caller: Caller, request_id: str
) -> SearchResponse | Problem:
    try:
        return await service.retriever.search(search, caller, request_id)
    except ProblemError as error:
        return error_document(error, request_id)


def _describe(service: Service, snapshot: Snapshot) -> Model:
    variant, epoch = snapshot.variant, snapshot.epoch
    manifest = variant.bundle.manifest
    return Model(
        variant=variant.name,
        model=manifest.name,
        created=manifest.created,
        revision=manifest.revision,
        epoch=epoch.id,
        items=snapshot.filters.n_listed,
        sids=snapshot.filters.everything.n_leaves,
        fill=service.retriever.recent_fill(variant.name),
        codebook_sizes=list(epoch.table.codebook_sizes),
        beam_widths=list(variant.engine.beam_widths),
        provider=variant.engine.provider,
        precisions=list(variant.engine.precisions),
        ordering=manifest.ordering,
        metrics=manifest.metrics,
        attributes=[
            Attribute(name=name, holds=column.kind) for name, column in snapshot.filters.columns.items()
        ],
    )
