"""The server of these tests speaks as the service does; both are held to the service's own schemas."""

import json
import subprocess
import sys
import urllib.request

import pytest
from pydantic import BaseModel

from service.schemas import (
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


def test_shoppers_ask_what_the_service_takes(shop_url: str) -> None:
    options = ["--url", shop_url, "--seconds", "2", "--users", "2"]
    subprocess.run([sys.executable, "-m", "radsearch", "loadtest", *options], check=True, capture_output=True)
    with urllib.request.urlopen(f"{shop_url}/received") as answer:
        received = json.load(answer)
    for request in received:
        SCHEMAS[request["path"]][0].model_validate_json(json.dumps(request["body"]))
    assert {request["path"] for request in received} == set(SCHEMAS)
