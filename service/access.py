"""Who may do what: endpoints ask for a scope, a bearer key grants it."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.keys import KeySet, Scope
from service.problems import ProblemError

SEARCH_SCHEME = HTTPBearer(scheme_name="searchKey", description="A key of scope search.", auto_error=False)
ADMIN_SCHEME = HTTPBearer(scheme_name="adminKey", description="A key of scope admin.", auto_error=False)
FORCED_BY = "X-Radsearch-Variant"
"""Header by which staff ask for a variant."""
HOW_TO_MAKE_ONE = "make one with 'radsearch key new' and name its file in RADSEARCH_KEYS"


class UnauthorizedError(ProblemError):
    """A key is needed, and none or an unknown one came."""

    status = HTTPStatus.UNAUTHORIZED
    kind = "unauthorized"

    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="radsearch"'}


class ForbiddenError(ProblemError):
    """The key that came does not allow this, or no key could."""

    status = HTTPStatus.FORBIDDEN
    kind = "forbidden"


Credentials = HTTPAuthorizationCredentials | None


async def require_search(request: Request, given: Annotated[Credentials, Security(SEARCH_SCHEME)]) -> None:
    """Let only callers with a search key on; without such keys everyone may search.

    Who names the variant to answer is staff and needs an admin key, unless there are no keys at all.

    Raises:
        UnauthorizedError: if no valid key came.
        ForbiddenError: if its scope is another.
    """
    keys = request.app.state.service.keys.current
    if keys.keys and FORCED_BY in request.headers:
        await require_admin(request, given)
    elif keys.asks_for(Scope.SEARCH):
        _require(request, keys, Scope.SEARCH, given)


async def require_admin(request: Request, given: Annotated[Credentials, Security(ADMIN_SCHEME)]) -> None:
    """Let only callers with an admin key on; without such keys nobody is an admin.

    Raises:
        UnauthorizedError: if no valid key came.
        ForbiddenError: if its scope is another, or no admin key exists.
    """
    keys = request.app.state.service.keys.current
    if not keys.asks_for(Scope.ADMIN):
        raise ForbiddenError(f"this needs an admin key and the service has none; {HOW_TO_MAKE_ONE}")
    _require(request, keys, Scope.ADMIN, given)


def _require(request: Request, keys: KeySet, scope: Scope, given: Credentials) -> None:
    """Find the key that came and note it for the rate limit."""
    if given is None:
        raise UnauthorizedError(f"this needs a key of scope {scope}; send 'Authorization: Bearer KEY'")
    key = keys.find(given.credentials)
    if key is None:
        raise UnauthorizedError("the key is unknown or revoked")
    if key.scope is not scope:
        raise ForbiddenError(f"the key has the scope {key.scope}, and this needs {scope}")
    request.state.key = key.name
