"""What is asked of the API, and what an answer must hold to be of use to a shop.

A server under load may answer fast and wrong: a 200 that does not fit these models counts as an error.
Only what is read here is named; the rest of an answer is ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue, ValidationError

NonEmpty = Annotated[str, Field(min_length=1)]


class Operation(StrEnum):
    """What a request does; latencies are told apart by it."""

    SEARCH = "search"
    FILTER = "filter"
    BATCH = "batch"
    EVENT = "event"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        operation: what it does.
        body: what is sent as JSON.
    """

    operation: Operation
    body: Mapping[str, object]

    @property
    def path(self) -> str:
        """Where it goes to."""
        return PATHS[self.operation]


class Item(BaseModel):
    """One item of an answer."""

    item_id: NonEmpty
    attributes: dict[str, JsonValue] = {}


class SearchAnswer(BaseModel):
    """The answer of ``/v1/search``."""

    request_id: NonEmpty
    variant: NonEmpty
    items: list[Item]
    degraded: list[str]


class BatchAnswer(BaseModel):
    """The answer of ``/v1/search/batch``; a problem in the place of a search does not fit."""

    results: Annotated[list[SearchAnswer], Field(min_length=1)]


class EventAnswer(BaseModel):
    """The answer of ``/v1/events``, of which nothing is needed."""


Answer = SearchAnswer | BatchAnswer | EventAnswer

PATHS = {
    Operation.SEARCH: "/v1/search",
    Operation.FILTER: "/v1/search",
    Operation.BATCH: "/v1/search/batch",
    Operation.EVENT: "/v1/events",
}
MODELS: dict[Operation, type[SearchAnswer] | type[BatchAnswer] | type[EventAnswer]] = {
    Operation.SEARCH: SearchAnswer,
    Operation.FILTER: SearchAnswer,
    Operation.BATCH: BatchAnswer,
    Operation.EVENT: EventAnswer,
}


def read_answer(operation: Operation, status: int, body: bytes) -> Answer | str:
    """Decode the answer to an operation.

    Returns:
        The answer, or the kind of error, one of a bounded number.
    """
    if status >= HTTPStatus.BAD_REQUEST:
        return f"status {status}"
    try:
        return MODELS[operation].model_validate_json(body)
    except ValidationError as error:
        return kind_of(error)


def kind_of(error: ValidationError) -> str:
    """Name what is wrong with an answer; the number of names is bounded."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join("*" if isinstance(part, int) else part for part in first["loc"])
    return f"answer {place}: {first['type']}" if place else f"answer: {first['type']}"
