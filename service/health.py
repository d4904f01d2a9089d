"""What orchestrators and Prometheus ask."""

from fastapi import APIRouter, Request, Response

from service.metrics import MEDIA_TYPE, Metrics
from service.problems import UnavailableError
from service.readiness import Readiness
from service.schemas import Problem, Status

METRICS = {"schema": {"type": "string"}, "example": "radsearch_queue_depth 3.0\n"}

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Liveness")
async def livez() -> Status:
    """The process runs; restart it where this fails."""
    return Status(status="alive")


@router.get(
    "/readyz",
    summary="Readiness",
    responses={503: {"model": Problem, "description": "Starting or draining."}},
)
async def readyz(request: Request) -> Status:
    """New requests are welcome; send none where this fails."""
    readiness: Readiness = request.app.state.readiness
    if not readiness.is_ready:
        raise UnavailableError(f"the service is {readiness.state}; ask another replica")
    return Status(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": METRICS}}})
async def metrics(request: Request) -> Response:
    """Measurements in Prometheus' text format."""
    measured: Metrics = request.app.state.metrics
    return Response(measured.exposition(), media_type=MEDIA_TYPE)
