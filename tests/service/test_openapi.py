from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from service.problems import MEDIA_TYPE

CASES = 50  # of each operation, and as many that its schema forbids


@pytest.fixture(scope="session")
def api(running: Any) -> Any:
    refused = {"expected-statuses": ["400", "413", "415", "422"]}
    config = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": refused}})
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json", config=config)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch", "/v1/events"])
def test_the_service_keeps_to_its_contract(path: str, mode: GenerationMode, api: Any) -> None:
    """Never a 5xx; what the document allows is accepted, what it forbids is refused, answers fit it."""

    @settings(max_examples=CASES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=api[path]["POST"].as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:
            for search in searches_in(case.body):
                search.pop("timeout_ms", None)  # a millisecond is a valid deadline, and 504 its answer
            if isinstance(case.body, dict):
                case.body.pop("event_time", None)  # which times are recent, no schema can say
        case.call_and_validate()

    call()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/experiments", "/livez", "/readyz"])
def test_what_takes_no_input_keeps_to_its_contract(path: str, api: Any) -> None:
    api[path]["GET"].Case().call_and_validate()


def searches_in(body: Any) -> list[dict[str, Any]]:
    """Every object in a body that may be a search."""
    nested = body.get("searches") if isinstance(body, dict) else None
    return [each for each in [body, *(nested if isinstance(nested, list) else [])] if isinstance(each, dict)]


def test_the_document_knows_the_limits_and_the_attributes(running: Any) -> None:
    document = running.client.get("/openapi.json").json()
    search = document["components"]["schemas"]["SearchRequest"]["properties"]
    assert search["query"]["maxLength"] == 512
    assert {"type": "integer", "minimum": 1, "maximum": 100, "default": 20} in search["k"]["anyOf"]
    assert {"type": "integer", "minimum": 1, "maximum": 64} in search["beam_width"]["anyOf"]
    filters = search["filters"]["anyOf"][0]
    assert set(filters["properties"]) == {"category", "brand", "price", "stock", "in_stock", "tags"}


def test_every_error_is_a_problem_document(running: Any) -> None:
    document = running.client.get("/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            for code, response in operation["responses"].items():
                if int(code) >= 400:
                    assert list(response["content"]) == [MEDIA_TYPE]
