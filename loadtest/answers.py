"""What an answer must hold to be of use to a shop.

A server under load may answer fast and wrong: a 200 that does not fit these models counts as an error.
Only what is read here is named; the rest of an answer is ignored.
"""

from typing import Annotated

from pydantic import BaseModel, Field, JsonValue, ValidationError

NonEmpty = Annotated[str, Field(min_length=1)]


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
    """The answer of ``/v1/search/batch``."""

    results: Annotated[list[SearchAnswer], Field(min_length=1)]


class EventAnswer(BaseModel):
    """The answer of ``/v1/events``, of which nothing is needed."""


def kind_of(error: ValidationError) -> str:
    """Name what is wrong with an answer; the number of names is bounded."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join("*" if isinstance(part, int) else part for part in first["loc"])
    return f"answer {place}: {first['type']}" if place else f"answer: {first['type']}"
