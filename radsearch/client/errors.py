"""What goes wrong with a call."""

from http import HTTPStatus
from typing import ClassVar

import httpx
from pydantic import ValidationError

from radsearch.client.answers import Problem


class ClientError(Exception):
    """Base of all errors of the client."""


class NoAnswerError(ClientError):
    """The service could not be reached, or not in time."""


class BadAnswerError(ClientError):
    """What answered does not speak the service's API; look at the URL."""


class ProblemError(ClientError):
    """The service refused or failed; ``problem`` has type, title, detail and request_id."""

    by_status: ClassVar[dict[int, type["ProblemError"]]] = {}

    def __init__(self, problem: Problem) -> None:
        named = f" (request {problem.request_id})" if problem.request_id else ""
        super().__init__(f"{problem.status} {problem.kind}: {problem.detail}{named}")
        self.problem = problem

    def __init_subclass__(cls, status: HTTPStatus) -> None:
        cls.by_status[status] = cls

    @classmethod
    def of(cls, response: httpx.Response) -> "ProblemError":
        """The error that a response tells; a proxy's page becomes a problem without a type."""
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            problem = Problem(
                type="about:blank",
                title=response.reason_phrase,
                status=response.status_code,
                detail=f"{response.reason_phrase}, and not by radsearch: {response.text[:200]!r}",
            )
        return cls.by_status.get(response.status_code, cls)(problem)


class UnauthorizedError(ProblemError, status=HTTPStatus.UNAUTHORIZED):
    """A key is needed, and none or an unknown one was sent."""


class ForbiddenError(ProblemError, status=HTTPStatus.FORBIDDEN):
    """The key does not allow this."""


class ConflictError(ProblemError, status=HTTPStatus.CONFLICT):
    """What is asked does not go with what is there."""


class InvalidRequestError(ProblemError, status=HTTPStatus.UNPROCESSABLE_ENTITY):
    """A value cannot be used; ``problem.errors`` says which."""


class OverloadedError(ProblemError, status=HTTPStatus.TOO_MANY_REQUESTS):
    """Too much is asked, by all (kind ``overloaded``) or by this caller (kind ``rate-limited``)."""


class UnavailableError(ProblemError, status=HTTPStatus.SERVICE_UNAVAILABLE):
    """Something that is needed is away."""


class DeadlineError(ProblemError, status=HTTPStatus.GATEWAY_TIMEOUT):
    """The search's ``timeout_ms`` passed; where ``problem`` is not of radsearch, a proxy's patience ended."""
