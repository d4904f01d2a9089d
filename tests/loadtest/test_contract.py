"""The server of these tests speaks as the service does; both are held to the service's own schemas."""

import json
import urllib.request

import pytest
from pydantic import BaseModel

from loadtest.answers import Item, SearchAnswer
from loadtest.settings import LoadtestSettings
from loadtest.visits import Shopper, Shoppers
from service.schemas import (
    Attribute,
    BatchRequest,
    BatchResponse,
    EventRequest,
    EventResponse,
    SearchRequest,
    SearchResponse,
)

SCHEMAS: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "/v1/search": (SearchRequest, SearchResponse),
    "/v1/search/batch": (BatchRequest, BatchResponse),
    "/v1/events": (EventRequest, EventResponse),
}
BODIES = {
    "/v1/search": {"query": "shoes"},
    "/v1/search/batch": {"searches": [{"query": "shoes"}, {"query": "hats"}]},
    "/v1/events": {"request_id": "request-0", "type": "click", "item_id": "item-0"},
}


@pytest.mark.parametrize("path", SCHEMAS)
def test_the_server_of_the_tests_answers_as_the_service(shop_url: str, path: str) -> None:
    request = urllib.request.Request(shop_url + path, data=json.dumps(BODIES[path]).encode())
    with urllib.request.urlopen(request) as answer:
        SCHEMAS[path][1].model_validate_json(answer.read(), strict=True, extra="forbid")


def test_the_server_of_the_tests_tells_its_attributes_as_the_service(shop_url: str) -> None:
    with urllib.request.urlopen(f"{shop_url}/v1/models") as answer:
        (model,) = json.load(answer)["models"]
    for attribute in model["attributes"]:
        Attribute.model_validate(attribute | {"holds": "text"}, strict=True, extra="forbid")


def test_shoppers_ask_what_the_service_takes() -> None:
    settings = LoadtestSettings(filters=0.5, batches=0.1, clicks=0.5)
    shopper = Shopper(Shoppers(settings))
    items = [
        Item(item_id=f"i{n}", attributes={"brand": "Arrow", "price": 2.5, "new": True}) for n in range(9)
    ]
    search = SearchAnswer(request_id="r", variant="v", items=items, degraded=[])
    paths = set()
    for _ in range(2000):
        request = shopper.next_request()
        paths.add(request.path)
        SCHEMAS[request.path][0].model_validate_json(json.dumps(request.body))
        shopper.take(search)
    assert paths == set(SCHEMAS)
