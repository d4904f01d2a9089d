"""Plain searches go around FastAPI's router and resolver, a fifth of what a search costs the event loop.

What is read here is what FastAPI would read, and what is done with it is the endpoint's; anything that is not
plain goes the ordinary way, so there is one meaning of every request, and one place that says what is wrong.
"""

import json
from collections.abc import Awaitable, Iterable

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import routes
from service.access import FORCED_BY, SEARCH_SCHEME, require_search
from service.middleware import replayed
from service.problems import ProblemError, answer_problem
from service.schemas import SearchRequest
from service.tracing import name_request

ROUTE = next(route for route in routes.router.routes if getattr(route, "endpoint", None) is routes.search)
PATH: str = ROUTE.path  # type: ignore[attr-defined]  # a BaseRoute has none, and this is an APIRoute
FORCED = FORCED_BY.lower().encode()


class FastPath:
    """Answers plain searches; the innermost middleware, inside the one that reads bodies.

    The first thing that is looked at is whether the event loop keeps up: where it does not, a refusal must
    cost it next to nothing, or it would have no time for those whom it answers.

    A search is plain if it is declared as ``application/json``, nothing more, asks for no variant by name,
    and its body is a valid :class:`SearchRequest`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not (scope["type"] == "http" and scope["path"] == PATH and _is_plain(scope)):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            (await routes.get_service(request)).retriever.check_loop()
        except ProblemError as error:
            await _say(request, answer_problem(request, error), send)
            return
        message = await receive()  # the whole body
        body = _read(message)
        if body is None:
            await self._app(scope, replayed(message, receive), send)
            return
        await _say(request, _searched(request, body), send)


async def _searched(request: Request, body: SearchRequest) -> Response:
    """The answer to a search, or the problem with it."""
    try:
        await require_search(request, await SEARCH_SCHEME(request))
        return await routes.search(body, request)
    except ProblemError as error:
        return await answer_problem(request, error)


async def _say(request: Request, answer: Awaitable[Response], send: Send) -> None:
    """Send an answer, as one of the search's route."""
    request.scope["route"] = ROUTE
    name_request("POST", PATH)
    response = await answer
    await response(request.scope, request.receive, send)


def _is_plain(scope: Scope) -> bool:
    """Whether the header tells of nothing that only the ordinary way knows."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    declared = None
    for name, value in headers:
        if name == FORCED:
            return False
        if name == b"content-type":
            if declared is not None:
                return False
            declared = value
    return scope["method"] == "POST" and declared == b"application/json"


def _read(message: Message) -> SearchRequest | None:
    """The search in a body, read as FastAPI reads it; None if there is none."""
    try:
        return SearchRequest.model_validate(json.loads(message["body"]))
    except (ValueError, RecursionError):  # not JSON, not UTF-8, not a search, too deep
        return None
