"""What the connection of a request tells: whether the client is still there, and who it is."""

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from fastapi import Request, Response

COOKIE = "radsearch_id"
COOKIE_AGE_S = 365 * 86_400

Answer = TypeVar("Answer")


class ClientGoneError(Exception):
    """The client closed the connection; nobody waits for the answer."""


async def while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do some work for a client, and stop when the client leaves.

    Args:
        request: whose state tells by ``leaving``, see ``service.protocol``, that its client has left.
        work: cancelled when the client leaves.

    Raises:
        ClientGoneError: if the client left first.
    """
    leaving: asyncio.Future[None] | None = getattr(request.state, "leaving", None)
    if leaving is None:  # served by other means, without a connection that could break
        return await work
    task = cast("asyncio.Task[object]", asyncio.current_task())
    is_working = True

    def cancel(_: asyncio.Future[None]) -> None:
        if is_working:  # who leaves in the turn of the loop in which the work ends is told too late
            task.cancel()

    leaving.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        is_working = False


def anonymous_id(request: Request, response: Response, is_needed: bool) -> str:
    """The id of a browser, by which a user without ``user_id`` keeps the variant.

    Args:
        request: that may carry the cookie.
        response: that gets one where there is none.
        is_needed: whether the caller is unknown otherwise; a shop's backend gets no cookie.
    """
    known = _uuid(request.cookies.get(COOKIE))
    fresh = str(uuid.uuid4())
    if is_needed and known is None:
        response.set_cookie(
            COOKIE,
            fresh,
            max_age=COOKIE_AGE_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    return known or fresh


def _uuid(text: str | None) -> str | None:
    """The id in a cookie, None for anything we have not written."""
    try:
        return str(uuid.UUID(text)) if text else None
    except ValueError:
        return None
