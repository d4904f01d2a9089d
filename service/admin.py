"""The admin API: bundles, traffic and items change while the service runs, on all replicas.

Every call says what shall be, so that repeating it does no harm, and answers with what is offered then.
"""

import asyncio
import math
from typing import Annotated

from fastapi import APIRouter, Depends, Path

from service.access import require_admin
from service.admin_schemas import (
    BundleRequest,
    CatalogueState,
    ItemIdsRequest,
    ItemsRequest,
    RelistResponse,
    StateResponse,
    TrafficRequest,
    VariantState,
)
from service.desired import Source
from service.problems import InvalidRequestError
from service.routes import ServiceDep, may_fail, require_json
from service.state import Service

VariantName = Annotated[
    str,
    Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the variant.", examples=["next"]),
]
BODY = (400, 408, 413, 415, 422)  # what can be wrong with one
ROUNDING = 1e-6  # how far the sum of shares may be from 1

router = APIRouter(
    prefix="/v1/admin", tags=["admin"], dependencies=[Depends(require_admin)], responses=may_fail(401, 403)
)


@router.get("/state")
async def get_state(service: ServiceDep) -> StateResponse:
    """Tell what is loaded, who gets it, and how it came about."""
    return _state(service)


@router.delete("/state", responses=may_fail(409, 503))
async def reset(service: ServiceDep) -> StateResponse:
    """Take back every change: offer what is configured, and nothing else."""
    await service.replica.roll_back(lambda state: state.cleared())
    return _state(service)


@router.put("/variants/{name}", dependencies=[Depends(require_json)], responses=may_fail(409, 503, *BODY))
async def load_variant(name: VariantName, body: BundleRequest, service: ServiceDep) -> StateResponse:
    """Load a bundle beside the others; answered when it is verified, warmed up and can be shifted to."""
    configured = service.replica.configured
    bundle = await asyncio.to_thread(service.bundles.find, body.bundle)
    await service.replica.change(lambda state: state.with_variant(name, bundle, configured))
    return _state(service)


@router.delete("/variants/{name}", responses=may_fail(409, 422, 503))
async def unload_variant(name: VariantName, service: ServiceDep) -> StateResponse:
    """Unload a variant that gets no traffic; searches that it is answering end as they began."""
    configured, default = service.replica.configured, service.experiments.default
    await service.replica.change(lambda state: state.without_variant(name, default, configured))
    return _state(service)


@router.put(
    "/variants/{name}/catalogue",
    dependencies=[Depends(require_json)],
    responses=may_fail(409, 503, *BODY),
)
async def load_catalogue(name: VariantName, body: BundleRequest, service: ServiceDep) -> StateResponse:
    """Let a variant search the catalogue of another bundle of the same model, without items added before."""
    configured = service.replica.configured
    bundle = await asyncio.to_thread(service.bundles.find, body.bundle)
    await service.replica.change(lambda state: state.with_catalogue(name, bundle, configured))
    return _state(service)


@router.post("/variants/{name}/catalogue/rollback", responses=may_fail(409, 422, 503))
async def roll_back_catalogue(name: VariantName, service: ServiceDep) -> StateResponse:
    """Let a variant search the catalogue before the last one, with all items added since that was loaded."""
    configured = service.replica.configured
    await service.replica.roll_back(lambda state: state.with_previous_catalogue(name, configured))
    return _state(service)


@router.put("/traffic", dependencies=[Depends(require_json)], responses=may_fail(409, 503, *BODY))
async def shift_traffic(body: TrafficRequest, service: ServiceDep) -> StateResponse:
    """Say who answers callers whom no rule of the experiments concerns; each keeps to one variant."""
    if not math.isclose(sum(body.shares.values()), 1, abs_tol=ROUNDING):
        raise InvalidRequestError("/shares", f"sum up to {sum(body.shares.values()):g}, must be 1")
    configured = service.replica.configured
    await service.replica.change(lambda state: state.with_shares(body.shares, configured))
    return _state(service)


@router.post("/traffic/rollback", responses=may_fail(409, 503))
async def roll_back_traffic(service: ServiceDep) -> StateResponse:
    """Shift the traffic back to where it was before the last shift."""
    configured, default = service.replica.configured, service.experiments.default
    await service.replica.roll_back(lambda state: state.with_previous_shares(default, configured))
    return _state(service)


@router.put("/items", dependencies=[Depends(require_json)], responses=may_fail(409, 503, *BODY))
async def upsert_items(body: ItemsRequest, service: ServiceDep) -> StateResponse:
    """Add items to every catalogue or replace them; they are on offer."""
    configured, most_bytes = service.replica.configured, service.limits.max_state_bytes
    items = [item.payload for item in body.items]
    service.catalogue.offer.check_items(items)
    await service.replica.change(lambda state: state.with_items(items, most_bytes, configured))
    return _state(service)


@router.post("/items/delist", dependencies=[Depends(require_json)], responses=may_fail(409, 503, *BODY))
async def delist_items(body: ItemIdsRequest, service: ServiceDep) -> RelistResponse:
    """Take items off offer, in every catalogue of now and later, until they are relisted or upserted."""
    return await _relist(body.item_ids, False, service)


@router.post("/items/relist", dependencies=[Depends(require_json)], responses=may_fail(409, 503, *BODY))
async def relist_items(body: ItemIdsRequest, service: ServiceDep) -> RelistResponse:
    """Offer items again that were delisted."""
    return await _relist(body.item_ids, True, service)


async def _relist(item_ids: list[str], is_offered: bool, service: Service) -> RelistResponse:
    configured, most_bytes = service.replica.configured, service.limits.max_state_bytes
    await service.replica.change(lambda state: state.relisted(item_ids, is_offered, most_bytes, configured))
    unknown = await asyncio.to_thread(service.catalogue.offer.unknown, item_ids)
    return RelistResponse(**vars(_state(service)), unknown=unknown)


def _state(service: Service) -> StateResponse:
    replica, offer = service.replica, service.catalogue.offer
    state = replica.state
    shares = state.shares or {service.experiments.default: 1.0}
    variants = []
    for name, snapshot in offer.snapshots.items():
        history, loaded = state.catalogue(name), state.loaded.get(name)
        variants.append(
            VariantState(
                variant=name,
                bundle=None if loaded is None else loaded.directory,
                model=snapshot.variant.bundle.manifest.name,
                catalogue=_catalogue(history.current),
                previous_catalogue=None if history.previous is None else _catalogue(history.previous),
                epoch=snapshot.epoch.id,
                items=snapshot.filters.n_listed,
                share=shares.get(name, 0.0),
            )
        )
    return StateResponse(
        version=state.version,
        problem=replica.problem,
        variants=variants,
        shares=dict(state.shares),
        previous_shares=None if state.previous_shares is None else dict(state.previous_shares),
        delisted=len(state.delisted),
        upserts=len(state.upserts),
        bytes=len(state.document),
        max_bytes=service.limits.max_state_bytes,
    )


def _catalogue(source: Source) -> CatalogueState:
    return CatalogueState(bundle=None if source.bundle is None else source.bundle.directory)
