"""What the connection of a request tells: whether the client is still there, and who it is."""

import asyncio
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Browser:
    """What a user without ``user_id`` keeps the variant by.

    Attributes:
        id: of the cookie, or a new one.
        is_new: whether the browser shall be given it; a shop's backend gets no cookie.
        is_secure: whether the cookie may go over HTTPS alone.
    """

    id: str
    is_new: bool
    is_secure: bool

    @classmethod
    def of(cls, request: Request, is_needed: bool) -> "Browser":
        """The browser of a request, which may carry the cookie.

        Args:
            request: of the browser, or of a shop's backend.
            is_needed: whether the caller is unknown otherwise.
        """
        known = _uuid(request.cookies.get(COOKIE))
        if known is not None:
            return cls(known, is_new=False, is_secure=False)
        return cls(str(uuid.uuid4()), is_needed, is_needed and request.url.scheme == "https")

    def give_id(self, response: Response) -> None:
        """Set the cookie where it is new."""
        if self.is_new:
            response.set_cookie(
                COOKIE,
                self.id,
                max_age=COOKIE_AGE_S,
                httponly=True,
                samesite="lax",
                secure=self.is_secure,
            )


def _uuid(text: str | None) -> str | None:
    """The id in a cookie, None for anything we have not written."""
    try:
        return str(uuid.UUID(text)) if text else None
    except ValueError:
        return None
