"""Errors as RFC 9457 problem documents: what can go wrong with a request, and how it is said."""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import ServiceError
from service.schemas import FieldProblem, Problem

MEDIA_TYPE = "application/problem+json"


class ProblemError(ServiceError):
    """A request that ends with a problem document; each kind has its own class."""

    status: ClassVar[HTTPStatus]
    kind: ClassVar[str]

    headers: Mapping[str, str] = {}
    """Headers that go with the answer."""

    fields: tuple[FieldProblem, ...] = ()
    """The parts of the request that are to blame."""


class InvalidRequestError(ProblemError):
    """The request's values cannot be used."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "invalid-request"

    def __init__(self, pointer: str, detail: str) -> None:
        """Blame one part of the request.

        Args:
            pointer: JSON pointer into the body.
            detail: what is wrong with it and what would be right.
        """
        super().__init__(f"{pointer}: {detail}")
        self.fields = (FieldProblem(pointer=pointer, detail=detail),)


class MediaTypeError(ProblemError):
    """The body is not declared as JSON."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    kind = "unsupported-media-type"


class RequestTimeoutError(ProblemError):
    """The client did not send its body in time."""

    status = HTTPStatus.REQUEST_TIMEOUT
    kind = "request-timeout"


class BodyTooLargeError(ProblemError):
    """The body is larger than the service takes."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    kind = "body-too-large"


class OverloadedError(ProblemError):
    """More requests wait than the device can serve soon."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    kind = "overloaded"

    def __init__(self, detail: str, wait_s: float) -> None:
        """Say when to come back.

        Args:
            detail: what there is too much of.
            wait_s: how long it will last, in seconds; clients are told whole ones, one at least.
        """
        super().__init__(detail)
        self.headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}


class DeadlineError(ProblemError):
    """The deadline passed before the answer was there."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    kind = "deadline-exceeded"


class ConflictError(ProblemError):
    """What is asked does not go with what is there."""

    status = HTTPStatus.CONFLICT
    kind = "conflict"


class UnavailableError(ProblemError):
    """Something the request needs is away for now."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "unavailable"

    headers: Mapping[str, str] = {"Retry-After": "5"}


def document(
    status: int, kind: str, detail: str, request_id: str, errors: Sequence[FieldProblem] = ()
) -> Problem:
    """Put a problem document together."""
    return Problem(
        type=f"urn:radsearch:problem:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=request_id,
        errors=list(errors),
    )


def error_document(error: ProblemError, request_id: str) -> Problem:
    """The problem document of an error."""
    return document(error.status, error.kind, str(error), request_id, error.fields)


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Send a problem document."""
    content = problem.model_dump_json(exclude_defaults=True)
    return Response(content, problem.status, headers=headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the application become a problem document."""
    app.add_exception_handler(ProblemError, answer_problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer with the problem document of a :class:`ProblemError`."""
    assert isinstance(error, ProblemError)  # noqa: S101 — starlette's handlers are typed no finer
    request.state.problem = error.kind
    return respond(error_document(error, request.state.request_id), error.headers)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return respond(document(error.status_code, kind, detail, request.state.request_id), error.headers)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    errors = error.errors()
    request_id = request.state.request_id
    if any(each["type"] == "json_invalid" for each in errors):
        detail = f"the body is not JSON: {errors[0]['ctx']['error']}"
        return respond(document(400, "malformed-json", detail, request_id))
    fields = [
        FieldProblem(pointer=_pointer(each["loc"]), detail=each["msg"].removeprefix("Value error, "))
        for each in errors
    ]
    detail = f"{fields[0].pointer or 'body'}: {fields[0].detail}"
    return respond(document(422, InvalidRequestError.kind, detail, request_id, fields))


def _pointer(location: Sequence[Any]) -> str:
    """JSON pointer (RFC 6901) of a place in the body; other places are named."""
    if location[-1] == "[key]":  # so pydantic says that a name is wrong, not what it holds
        location = location[:-1]
    if location[0] == "body":
        return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location[1:])
    return ".".join(str(part) for part in location)
