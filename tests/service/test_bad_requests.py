import json
from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """An RFC 9457 document that names its request and hides our insides."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == f"urn:radsearch:problem:{kind}"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"]
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"query": ""}, "/query"),
        ({"query": " \t\n"}, "/query"),
        ({"query": "\x00\x07\x1b"}, "/query"),
        ({"query": "\u200b\ufeff"}, "/query"),
        ({"query": "x" * 10_000}, "/query"),
        ({"query": 5}, "/query"),
        ({"query": None}, "/query"),
        ({}, "/query"),
        ({"query": "red", "k": 0}, "/k"),
        ({"query": "red", "k": -1}, "/k"),
        ({"query": "red", "k": 10**9}, "/k"),
        ({"query": "red", "k": 10**400}, "/k"),
        ({"query": "red", "k": "20"}, "/k"),
        ({"query": "red", "k": 2.5}, "/k"),
        ({"query": "red", "k": True}, "/k"),
        ({"query": "red", "beam_width": 65}, "/beam_width"),
        ({"query": "red", "beam_width": 0}, "/beam_width"),
        ({"query": "red", "ordering": {"tua": 1}}, "/ordering/tua"),
        ({"query": "red", "ordering": {"tau": "1"}}, "/ordering/tau"),
        ({"query": "red", "ordering": {"words": 1e300}}, "/ordering/words"),
        ({"query": "red", "ordering": [1]}, "/ordering"),
        ({"query": "red", "timeout_ms": 0}, "/timeout_ms"),
        ({"query": "red", "timeout_ms": 10**9}, "/timeout_ms"),
        ({"query": "red", "user_id": ""}, "/user_id"),
        ({"query": "red", "user_id": "x" * 1000}, "/user_id"),
        ({"query": "red", "colour": "red"}, "/colour"),
        ({"query": "red", "filters": []}, "/filters"),
        ({"query": "red", "filters": {"colour": "red"}}, "/filters/colour"),
        ({"query": "red", "filters": {"popularity": 1}}, "/filters/popularity"),
        ({"query": "red", "filters": {"title": "red"}}, "/filters/title"),
        ({"query": "red", "a/b~": "red"}, "/a~1b~0"),
        ({"query": "red", "filters": {"price": "cheap"}}, "/filters/price"),
        ({"query": "red", "filters": {"price": True}}, "/filters/price"),
        ({"query": "red", "filters": {"price": {}}}, "/filters/price"),
        ({"query": "red", "filters": {"price": {"above": 5}}}, "/filters/price"),
        ({"query": "red", "filters": {"price": {"gte": "5"}}}, "/filters/price"),
        ({"query": "red", "filters": {"price": []}}, "/filters/price"),
        ({"query": "red", "filters": {"price": None}}, "/filters/price"),
        ({"query": "red", "filters": {"price": [1, "2"]}}, "/filters/price"),
        ({"query": "red", "filters": {"in_stock": 1}}, "/filters/in_stock"),
        ({"query": "red", "filters": {"in_stock": {"gte": 1}}}, "/filters/in_stock"),
        ({"query": "red", "filters": {"category": 5}}, "/filters/category"),
        ({"query": "red", "filters": {"category": ["a"] * 101}}, "/filters/category"),
        ({"query": "red", "filters": {"tags": True}}, "/filters/tags"),
    ],
)
def test_values_that_cannot_be_used(fields: dict[str, Any], blamed: str, running: Any) -> None:
    response = running.client.post("/v1/search", content=json.dumps(fields), headers=JSON)
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == blamed
    assert problem["errors"][0]["detail"] in problem["detail"]


HALF = "\ud800"  # of a surrogate pair: JSON can say it, UTF-8 cannot


@pytest.mark.parametrize(
    "fields",
    [
        {"query": HALF},
        {"query": "red", "user_id": HALF},
        {"query": "red", HALF: 1},
        {"query": "red", "filters": {HALF: "red"}},
        {"query": "red", "filters": {"brand": HALF}},
        {"query": "red", "filters": {"brand": ["Ada", HALF]}},
    ],
)
def test_text_that_is_no_unicode(fields: dict[str, Any], running: Any) -> None:
    response = running.client.post("/v1/search", content=json.dumps(fields), headers=JSON)
    assert_problem(response, 422, "invalid-request")


def test_an_unknown_attribute_is_answered_with_the_known_ones(running: Any) -> None:
    response = running.client.post("/v1/search", json={"query": "red", "filters": {"color": "red"}})
    problem = assert_problem(response, 422, "invalid-request")
    for attribute in ("category", "brand", "price", "stock", "in_stock", "tags"):
        assert attribute in problem["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "👟",
        "👩‍👩‍👧‍👦 🇩🇪",
        "雨伞 黑色",
        "كرة",
        "crème brûlée",
        "½",
        "a\x00b\x1fc",
        " red\r\n\tshoes ",
        "x" * 512,
    ],
)
def test_every_language_is_a_query(query: str, running: Any) -> None:
    assert running.search(query)["items"]


def test_control_characters_and_blanks_do_not_change_a_query(running: Any) -> None:
    plain = running.search("red running shoes", user_id="same")["items"]
    assert running.search("\x00red \t\x1frunning\r\n shoes\x7f", user_id="same")["items"] == plain


@pytest.mark.parametrize("body", [b"", b"{", b'{"query": }', b"\xff\xfe", b"[1, 2", b"{" * 10_000, b"nul"])
def test_malformed_json(body: bytes, running: Any) -> None:
    response = running.client.post("/v1/search", content=body, headers=JSON)
    assert response.status_code in (400, 422)
    assert_problem(response, response.status_code, response.json()["type"].rpartition(":")[2])


@pytest.mark.parametrize("body", [b"[]", b'"red"', b"5", b"null"])
def test_json_that_is_no_object(body: bytes, running: Any) -> None:
    assert_problem(running.client.post("/v1/search", content=body, headers=JSON), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch", "/v1/events"])
@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
def test_a_body_that_is_not_declared_as_json(path: str, headers: dict[str, str], running: Any) -> None:
    response = running.client.post(path, content=b'{"query": "red"}', headers=headers)
    assert_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "declared", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.shop+json"]
)
def test_json_by_any_of_its_names(declared: str, running: Any) -> None:
    body, headers = b'{"query": "red"}', {"Content-Type": declared}
    assert running.client.post("/v1/search", content=body, headers=headers).status_code == 200


def test_a_body_that_is_too_large(running: Any) -> None:
    body = b'{"query": "red"}' + b" " * 65_536
    assert_problem(running.client.post("/v1/search", content=body, headers=JSON), 413, "body-too-large")


def test_a_body_that_is_too_large_and_does_not_say_so(running: Any) -> None:
    chunks = (b" " * 1000 for _ in range(100))  # httpx sends an iterator without Content-Length
    assert_problem(running.client.post("/v1/search", content=chunks, headers=JSON), 413, "body-too-large")


def test_a_path_that_is_not_there(running: Any) -> None:
    assert_problem(running.client.get("/v1/nothing"), 404, "not-found")
    assert_problem(running.client.post("/v1/search/", json={"query": "red"}), 404, "not-found")
    assert_problem(running.client.get("/page/../app.py"), 404, "not-found")
    assert_problem(running.client.get("/page/nothing.js"), 404, "not-found")


def test_a_method_that_is_not_there(running: Any) -> None:
    response = running.client.put("/v1/search", json={"query": "red"})
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "searches", [[], [{"query": "red"}] * 33, [{"query": "red", "k": 0}], [{"query": " "}], [{}], "red"]
)
def test_batches_that_cannot_be_used(searches: Any, running: Any) -> None:
    response = running.client.post("/v1/search/batch", json={"searches": searches})
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["pointer"].startswith("/searches")


def test_one_bad_search_refuses_its_batch_before_anything_runs(running: Any) -> None:
    searches = [{"query": "red"}, {"query": "red", "filters": {"colour": "red"}}]
    response = running.client.post("/v1/search/batch", json={"searches": searches})
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["pointer"] == "/searches/1/filters/colour"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "look"},
        {"item_id": ""},
        {"request_id": None},
        {"quantity": 0},
        {"quantity": 1.5},
        {"price": -1},
        {"price": "5"},
        {"colour": "red"},
    ],
)
def test_events_that_cannot_be_used(change: dict[str, Any], running: Any) -> None:
    event = {"request_id": "r", "type": "click", "item_id": "i1"} | change
    assert_problem(running.client.post("/v1/events", json=event), 422, "invalid-request")
