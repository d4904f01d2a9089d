"""The OpenAPI document is complete, and its examples are true."""

import re
from typing import Any

import jsonschema_rs
import pytest

from service.problems import MEDIA_TYPE, ProblemError

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def document(running: Any) -> dict[str, Any]:
    return running.client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[tuple[str, str], Operation]:
    """By method and path."""
    return {(method, path): op for path, item in document["paths"].items() for method, op in item.items()}


def bodies(operation: Operation) -> list[dict[str, Any]]:
    """JSON that goes in or comes out where nothing is wrong."""
    answers = [answer for code, answer in operation["responses"].items() if int(code) < 400]
    sides = [operation.get("requestBody", {}), *answers]
    return [
        side["content"]["application/json"] for side in sides if "application/json" in side.get("content", {})
    ]


def example_of(content: dict[str, Any], document: dict[str, Any]) -> Any:
    """Of the schema that a body refers to."""
    name = content["schema"]["$ref"].rpartition("/")[2]
    (example,) = document["components"]["schemas"][name]["examples"]
    return example


def assert_fits(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    jsonschema_rs.validator_for({**schema, "components": document["components"]}).validate(value)


def test_every_operation_says_what_it_is_for(operations: dict[tuple[str, str], Operation]) -> None:
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    for operation in operations.values():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
        assert operation["summary"]
        assert operation["description"].endswith(".")
        assert len(operation["tags"]) == 1


def test_every_body_has_an_example_that_fits_it(
    operations: dict[tuple[str, str], Operation], document: dict[str, Any]
) -> None:
    for operation in operations.values():
        for content in bodies(operation):
            assert_fits(example_of(content, document), content["schema"], document)


def test_every_problem_has_an_example(
    operations: dict[tuple[str, str], Operation], document: dict[str, Any]
) -> None:
    shown = set()
    for operation in operations.values():
        for code, answer in operation["responses"].items():
            if int(code) >= 400:
                content = answer["content"][MEDIA_TYPE]
                for kind, example in content["examples"].items():
                    assert_fits(example["value"], content["schema"], document)
                    assert example["value"]["type"] == f"urn:radsearch:problem:{kind}"
                    assert example["value"]["status"] == int(code)
                    shown.add((int(code), kind))
    assert shown == kinds(ProblemError) | {(400, "malformed-json")}


def kinds(error: type[ProblemError]) -> set[tuple[int, str]]:
    """Status and kind of every problem the service can raise."""
    own = {(int(error.status), error.kind)} if "kind" in vars(error) else set()
    return own.union(*map(kinds, error.__subclasses__()))


def test_names_are_written_alike(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"([A-Z][a-z]+)+", name), name
        for field in schema.get("properties", {}):
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", field), (name, field)


@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch", "/v1/events"])
def test_the_example_of_a_request_is_answered(path: str, document: dict[str, Any], running: Any) -> None:
    operation = document["paths"][path]["post"]
    body = example_of(operation["requestBody"]["content"]["application/json"], document)
    body = {name: value for name, value in body.items() if name != "timeout_ms"}
    assert running.client.post(path, json=body).is_success
