"""The calls of the API as data, the same for both clients."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import httpx
from opentelemetry import propagate
from pydantic import BaseModel, ValidationError

from radsearch.client import answers
from radsearch.client.errors import BadAnswerError

AnswerT = TypeVar("AnswerT", bound=BaseModel)

Value: TypeAlias = str | int | float | bool
Condition: TypeAlias = Value | Sequence[str] | Sequence[float] | Mapping[str, float]
"""A value, a list of values, or bounds such as ``{"gte": 5, "lte": 20}``."""

EventType: TypeAlias = Literal["click", "cart", "purchase"]


class SearchOptions(TypedDict, total=False):
    """What may go with a query; the API's document says more."""

    k: int
    filters: Mapping[str, Condition]
    user_id: str
    beam_width: int
    ordering: Mapping[str, float]
    timeout_ms: int
    explain: bool
    attributes: Mapping[str, Value]


class Search(SearchOptions):
    """One search of a batch."""

    query: str


class _NewItem(TypedDict):
    item_id: str
    title: str


class NewItem(_NewItem, total=False):
    """An item that is added, or replaces the one of its item_id."""

    attributes: Mapping[str, Value | Sequence[str] | None]


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """One request.

    Attributes:
        method, path, body: of it.
        answer: what a success holds.
        is_repeatable: whether doing it twice does no harm.
    """

    method: str
    path: str
    answer: type[AnswerT]
    body: Mapping[str, Any] | None = None
    is_repeatable: bool = True

    def request(self, http: httpx.Client | httpx.AsyncClient, timeout_s: float) -> httpx.Request:
        """What to send now; it goes on with the trace that is current."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return http.build_request(self.method, self.path, json=self.body, headers=headers, timeout=timeout_s)

    def read(self, response: httpx.Response) -> AnswerT:
        """Read a success.

        Raises:
            BadAnswerError: if it is something else.
        """
        try:
            return self.answer.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "body"
            raise BadAnswerError(f"{response.url}: {place}: {first['msg']}") from error


def search(query: str, options: SearchOptions) -> Call[answers.SearchAnswer]:
    """Answer one query."""
    return Call("POST", "/v1/search", answers.SearchAnswer, {"query": query, **options})


def search_batch(searches: Sequence[Search]) -> Call[answers.BatchAnswer]:
    """Answer several queries."""
    return Call("POST", "/v1/search/batch", answers.BatchAnswer, {"searches": list(searches)})


def event(
    request_id: str,
    event_type: EventType,
    item_id: str,
    user_id: str | None,
    quantity: int,
    price: float | None,
    event_id: str | None,
    event_time: datetime | None,
) -> Call[answers.EventAnswer]:
    """Note what a shopper did; under its id, twice is as once."""
    body = {
        "request_id": request_id,
        "type": event_type,
        "item_id": item_id,
        "user_id": user_id,
        "quantity": quantity,
        "price": price,
        "event_id": event_id or str(uuid.uuid4()),
        "event_time": event_time.isoformat() if event_time is not None else None,
    }
    return Call("POST", "/v1/events", answers.EventAnswer, body)


MODELS = Call("GET", "/v1/models", answers.Models)
EXPERIMENTS = Call("GET", "/v1/experiments", answers.Experiments)
STATE = Call("GET", "/v1/admin/state", answers.State)
RESET = Call("DELETE", "/v1/admin/state", answers.State)
# Taken back twice is not taken back.
ROLL_BACK_TRAFFIC = Call("POST", "/v1/admin/traffic/rollback", answers.State, is_repeatable=False)


def attributes(variant: str | None) -> Call[answers.Attributes]:
    """Tell what filters may ask for."""
    return Call("GET", _with_query("/v1/attributes", variant=variant), answers.Attributes)


def sids(prefix: Sequence[int], variant: str | None, limit: int | None) -> Call[answers.Sids]:
    """Tell what lies under a prefix."""
    codes = "-".join(map(str, prefix)) or None
    return Call("GET", _with_query("/v1/sids", prefix=codes, variant=variant, limit=limit), answers.Sids)


def sid_titles(prefixes: Sequence[Sequence[int]], variant: str | None) -> Call[answers.SidTitles]:
    """Tell what prefixes mean."""
    body = {"prefixes": list(map(list, prefixes)), "variant": variant}
    return Call("POST", "/v1/sids/titles", answers.SidTitles, body)


def sid_report(variant: str | None) -> Call[answers.SidReport]:
    """Tell how well the SIDs are spread."""
    return Call("GET", _with_query("/v1/sids/report", variant=variant), answers.SidReport)


def load_variant(name: str, bundle: str) -> Call[answers.State]:
    """Load a bundle as a variant."""
    return Call("PUT", _variant(name), answers.State, {"bundle": bundle})


def unload_variant(name: str) -> Call[answers.State]:
    """Unload a variant."""
    return Call("DELETE", _variant(name), answers.State)


def load_catalogue(name: str, bundle: str) -> Call[answers.State]:
    """Let a variant search the catalogue of another bundle."""
    return Call("PUT", f"{_variant(name)}/catalogue", answers.State, {"bundle": bundle})


def roll_back_catalogue(name: str) -> Call[answers.State]:
    """Let a variant search its catalogue before the last one."""
    return Call("POST", f"{_variant(name)}/catalogue/rollback", answers.State, is_repeatable=False)


def shift_traffic(shares: Mapping[str, float]) -> Call[answers.State]:
    """Say who answers."""
    return Call("PUT", "/v1/admin/traffic", answers.State, {"shares": dict(shares)})


def upsert_items(items: Sequence[NewItem]) -> Call[answers.State]:
    """Add or replace items."""
    return Call("PUT", "/v1/admin/items", answers.State, {"items": list(items)})


def delist_items(item_ids: Sequence[str]) -> Call[answers.Relisted]:
    """Take items off offer."""
    return Call("POST", "/v1/admin/items/delist", answers.Relisted, {"item_ids": list(item_ids)})


def relist_items(item_ids: Sequence[str]) -> Call[answers.Relisted]:
    """Offer items again."""
    return Call("POST", "/v1/admin/items/relist", answers.Relisted, {"item_ids": list(item_ids)})


def _with_query(path: str, **given: str | int | None) -> str:
    present = {name: value for name, value in given.items() if value is not None}
    return f"{path}?{urlencode(present)}" if present else path


def _variant(name: str) -> str:
    return f"/v1/admin/variants/{quote(name, safe='')}"
