"""What people open in a browser: the playground, and the API's documentation."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from service import openapi
from service.middleware import SECURITY_HEADERS
from service.state import Service

PAGE = Path(__file__).with_name("page")
# Swagger UI styles its elements inline; its scripts come from here like all others.
DOCS_POLICY = SECURITY_HEADERS["Content-Security-Policy"].replace(
    "style-src 'self'", "style-src 'self' 'unsafe-inline'"
)

# Modules of two versions of the page must not meet in a browser, so it asks each time, and is told 304.
FRESH = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


class PageFiles(StaticFiles):
    """Files of the page, which browsers keep and ask about before they use them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """As Starlette's, with a header more."""
        response = await super().get_response(path, scope)
        response.headers.update(FRESH)
        return response


def install(app: FastAPI) -> None:
    """Add the pages and their files."""
    app.include_router(router)
    app.mount("/page", PageFiles(directory=PAGE), name="page")
    app.mount("/swagger", StaticFiles(packages=[("fastapi_offline", "static")]), name="swagger")


@router.get("/")
async def page() -> FileResponse:
    """The playground: searches, their beams, comparisons, the catalogue's map."""
    return FileResponse(PAGE / "index.html", headers=FRESH)


@router.get("/docs")
async def docs() -> FileResponse:
    """The API's documentation, without a CDN."""
    return FileResponse(PAGE / "docs.html", headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/openapi.json")
async def openapi_document(request: Request) -> dict[str, Any]:
    """The API in OpenAPI 3.1."""
    service: Service = request.app.state.service
    return openapi.describe(request.app, service.limits, service.keys.current)
