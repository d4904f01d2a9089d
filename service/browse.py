"""Endpoints that show the catalogue as filters and the search see it: attributes, SIDs, and their use."""

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Query, Request

from service.access import require_search
from service.browse_schemas import (
    AttributesResponse,
    AttributeValues,
    SidItem,
    SidLevel,
    SidPrefix,
    SidReportResponse,
    SidsResponse,
    TitlesRequest,
    TitlesResponse,
    ValueCount,
)
from service.problems import InvalidRequestError
from service.rate_limit import RateCaller
from service.routes import ServiceDep, may_fail, require_json
from service.schemas import MAX_TEXT
from service.sid_tree import SidNode, SidTree
from service.snapshot import Snapshot
from service.state import Service
from sid.report import collision_share, hourglass

N_TITLES = 3
N_CROWDED = 20
MAX_CHILDREN = 1_000
PREFIX = r"^([0-9]{1,9}(-[0-9]{1,9}){0,15})?$"

Answer = TypeVar("Answer")
VariantName = Annotated[
    str | None,
    Query(
        min_length=1, max_length=MAX_TEXT, description="Whose catalogue is meant; the first one's by default."
    ),
]


async def spend(request: Request, service: ServiceDep) -> None:
    """Count a look into the catalogue like a search: it costs about as much."""
    service.rate_limit.spend(RateCaller.of(request), 1)


router = APIRouter(
    prefix="/v1",
    tags=["catalogue"],
    dependencies=[Depends(require_search), Depends(spend)],
    responses=may_fail(401, 403, 422, 429),
)


@router.get("/attributes")
async def list_attributes(service: ServiceDep, variant: VariantName = None) -> AttributesResponse:
    """Tell what filters may ask for, and how many items have it."""
    snapshot = _snapshot(service, variant)
    facets = await asyncio.to_thread(lambda: snapshot.filters.facets)
    return AttributesResponse(
        variant=snapshot.variant.name,
        epoch=snapshot.epoch.id,
        items=snapshot.filters.n_listed,
        attributes=[
            AttributeValues(
                name=name,
                holds=snapshot.filters.columns[name].kind,
                items=facet.n_items,
                values=facet.n_values,
                most_frequent=[ValueCount(value=value, items=count) for value, count in facet.most_frequent],
                deciles=list(facet.deciles),
            )
            for name, facet in facets.items()
        ],
    )


@router.get("/sids")
async def list_sids(
    service: ServiceDep,
    variant: VariantName = None,
    prefix: Annotated[
        str,
        Query(pattern=PREFIX, description="Codes with hyphens between; empty for all.", examples=["17-203"]),
    ] = "",
    limit: Annotated[
        int, Query(ge=1, le=MAX_CHILDREN, description="Children, or items of a whole SID, at most.")
    ] = 256,
) -> SidsResponse:
    """Tell what lies under a prefix of SIDs, and which codes may follow it."""
    snapshot = _snapshot(service, variant)
    codes = tuple(map(int, prefix.split("-"))) if prefix else ()

    def look(tree: SidTree) -> SidsResponse:
        children, n_children = tree.children(codes, limit, N_TITLES)
        items = tree.items(codes, limit) if len(codes) == tree.table.levels else []
        return SidsResponse(
            variant=snapshot.variant.name,
            epoch=snapshot.epoch.id,
            codebook_sizes=list(tree.table.codebook_sizes),
            node=_prefix(tree.describe([codes], N_TITLES)[0]),
            children=list(map(_prefix, children)),
            codes=n_children,
            items=[SidItem(**item) for item in items],
        )

    return await _looked(snapshot, look)


@router.post("/sids/titles", dependencies=[Depends(require_json)], responses=may_fail(400, 408, 413, 415))
async def list_titles(body: TitlesRequest, service: ServiceDep) -> TitlesResponse:
    """Tell what prefixes of SIDs mean, by the words and titles that are typical of the items under them."""
    snapshot = _snapshot(service, body.variant)
    prefixes = list(map(tuple, body.prefixes))
    nodes = await _looked(snapshot, lambda tree: tree.describe(prefixes, N_TITLES))
    return TitlesResponse(
        variant=snapshot.variant.name, epoch=snapshot.epoch.id, prefixes=list(map(_prefix, nodes))
    )


@router.get("/sids/report")
async def report_sids(service: ServiceDep, variant: VariantName = None) -> SidReportResponse:
    """Tell how well the SIDs of a catalogue are spread: codes used, prefixes, crowded SIDs."""
    snapshot = _snapshot(service, variant)

    def look(tree: SidTree) -> SidReportResponse:
        sizes = np.diff(tree.table.posting_indptr)
        return SidReportResponse(
            variant=snapshot.variant.name,
            epoch=snapshot.epoch.id,
            items=tree.table.n_items,
            sids=tree.table.n_leaves,
            items_per_sid_mean=float(sizes.mean()) if len(sizes) else 0.0,
            items_per_sid_max=int(sizes.max(initial=0)),
            collision_share=collision_share(tree.table),
            hourglass=hourglass([level.evenness for level in tree.levels]),
            levels=[
                SidLevel(**vars(level), items_per_code=counts)
                for level, counts in zip(tree.levels, tree.items_per_code, strict=False)
            ],
            crowded=list(map(_prefix, tree.crowded(N_CROWDED, N_TITLES))),
        )

    return await _looked(snapshot, look)


def _snapshot(service: Service, variant: str | None) -> Snapshot:
    """What a variant searches now; the first one where none is named.

    Raises:
        InvalidRequestError: if there is no such variant.
    """
    snapshots = service.catalogue.offer.snapshots
    if variant is None:
        return next(iter(snapshots.values()))
    if variant not in snapshots:
        raise InvalidRequestError("variant", f"no variant is named so; known: {', '.join(snapshots)}")
    return snapshots[variant]


async def _looked(snapshot: Snapshot, look: Callable[[SidTree], Answer]) -> Answer:
    """What a look into the SIDs finds; in a thread, for large catalogues take their time."""
    return await asyncio.to_thread(lambda: look(snapshot.sids))


def _prefix(node: SidNode) -> SidPrefix:
    return SidPrefix(
        prefix=list(node.prefix),
        items=node.items,
        sids=node.sids,
        titles=list(node.titles),
        words=list(node.words),
    )
