"""What people open in a browser: the page with the search box, and the API's documentation."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from service import openapi
from service.middleware import SECURITY_HEADERS
from service.state import Service

PAGE = Path(__file__).with_name("page")
# Swagger UI styles its elements inline; its scripts come from here like all others.
DOCS_POLICY = SECURITY_HEADERS["Content-Security-Policy"].replace(
    "style-src 'self'", "style-src 'self' 'unsafe-inline'"
)

router = APIRouter(include_in_schema=False)


def install(app: FastAPI) -> None:
    """Add the pages and their files."""
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    app.mount("/swagger", StaticFiles(packages=[("fastapi_offline", "static")]), name="swagger")


@router.get("/")
async def page() -> FileResponse:
    """The search box."""
    return FileResponse(PAGE / "index.html")


@router.get("/docs")
async def docs() -> FileResponse:
    """The API's documentation, without a CDN."""
    return FileResponse(PAGE / "docs.html", headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/openapi.json")
async def openapi_document(request: Request) -> dict[str, Any]:
    """The API in OpenAPI 3.1."""
    service: Service = request.app.state.service
    return openapi.describe(request.app, service.limits, service.keys.current)
