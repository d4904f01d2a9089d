"""The way around FastAPI leads to the same answers as the way through it."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service import fast_path
from service.access import FORCED_BY
from service.connection import COOKIE
from service.keys import Scope, add_key
from service.loop_lag import LoopLag
from tests.service.waiting import until

FAST = "application/json"
ORDINARY = "application/json; charset=utf-8"  # means the same and is not plain
OK = '{method="POST",route="/v1/search",status="200"}'
FILTERS = st.dictionaries(
    st.sampled_from(["price", "category", "colour", "nothing"]),
    st.one_of(
        st.integers(),
        st.text(max_size=5),
        st.booleans(),
        st.dictionaries(st.sampled_from(["gte", "lt", "about"]), st.floats() | st.integers(), max_size=2),
    ),
    max_size=2,
)
SEARCHES = st.fixed_dictionaries(
    {"query": st.sampled_from(["red shoes", "blue hat", "\x07", "ﷺ", "\ud800"]) | st.text(max_size=20)},
    optional={
        "k": st.integers(-1, 60) | st.floats() | st.booleans() | st.just(10**400),
        "filters": FILTERS | st.none(),
        "user_id": st.text(max_size=5) | st.none(),
        "beam_width": st.integers(0, 70),
        "timeout_ms": st.integers(10_000, 20_000) | st.text(max_size=2),
        "explain": st.booleans() | st.integers(0, 1),
        "ordering": st.dictionaries(st.sampled_from(["tau", "words", "luck"]), st.floats(), max_size=2),
        "attributes": st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=2),
        "surprise": st.none(),
    },
)
BODIES = st.one_of(
    SEARCHES.map(json.dumps).map(str.encode),
    SEARCHES.map(lambda search: json.dumps(search).encode("utf-16")),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
    .map(json.dumps)
    .map(str.encode),
    st.binary(max_size=30),
    st.sampled_from([b"", b'{"query": "red"', b"[" * 20_000, b'\xef\xbb\xbf{"query": "red"}', b"9" * 5_000]),
    st.just(b'{"query": "red", "query": "blue", "k": NaN}'),
)


def told(response: httpx.Response) -> tuple[Any, ...]:
    """What an answer says, without what belongs to one request."""
    body = response.json()
    for name in ("request_id", "timings_ms"):
        body.pop(name, None)
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("x-request-id", "content-length", "set-cookie", "date")
    }
    cookie = response.headers.get("set-cookie", "").partition(";")[2] if COOKIE in response.cookies else None
    return response.status_code, body, headers, cookie


@pytest.fixture(scope="module")
def alone(start_service: Callable[..., Any]) -> Iterator[Any]:
    """A service of one variant: which of two a new shopper gets would differ from request to request."""
    with start_service() as running:
        yield running


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The route of each request that takes the fast path."""
    taken: list[str] = []
    name = fast_path.name_request

    def noted(method: str, route: str) -> None:
        taken.append(route)
        name(method, route)

    monkeypatch.setattr(fast_path, "name_request", noted)
    return taken


def ask(running: Any, body: bytes, media_type: str, **headers: str) -> httpx.Response:
    with httpx.Client(base_url=running.client.base_url, timeout=30) as client:  # that keeps no cookie
        return client.post("/v1/search", content=body, headers={"Content-Type": media_type, **headers})


@settings(max_examples=100, deadline=None)
@given(body=BODIES)
def test_both_ways_say_the_same(body: bytes, alone: Any) -> None:
    assert told(ask(alone, body, FAST)) == told(ask(alone, body, ORDINARY))


def test_plain_searches_take_it_and_nothing_else_does(running: Any, ways: list[str]) -> None:
    plain = b'{"query": "red shoes", "user_id": "u"}'
    assert ask(running, plain, FAST).status_code == 200
    assert ways == ["/v1/search"]
    for body, media_type, headers, status in (
        (plain, ORDINARY, {}, 200),
        (plain, "application/problem+json", {}, 200),
        (plain, "text/plain", {}, 415),
        (plain, FAST, {FORCED_BY: "rad-dpo"}, 200),
        (plain, FAST, {FORCED_BY: "x" * 65}, 422),
        (b'{"query": 1}', FAST, {}, 422),
        (b"{", FAST, {}, 400),
    ):
        assert ask(running, body, media_type, **headers).status_code == status, (body, media_type, headers)
    assert running.client.get("/v1/search").status_code == 405
    assert running.client.post("/v1/search/batch", json={"searches": [json.loads(plain)]}).status_code == 200
    assert ways == ["/v1/search"]


def test_a_content_type_said_twice_is_not_plain(running: Any, ways: list[str]) -> None:
    headers = [("Content-Type", FAST), ("Content-Type", "text/plain")]
    running.client.post("/v1/search", content=b'{"query": "red"}', headers=headers)
    assert ways == []


def test_who_may_not_search_is_refused_alike(
    start_service: Callable[..., Any], tmp_path: Path, ways: list[str]
) -> None:
    file = tmp_path / "keys.toml"
    search, admin = (add_key(file, scope, scope.value) for scope in (Scope.SEARCH, Scope.ADMIN))
    body = b'{"query": "red shoes", "user_id": "u"}'
    with start_service(keys=file, rate_limit=0.001, rate_burst=2) as running:
        for key, status in ((None, 401), ("nobody's", 401), (admin, 403), (search, 200), (search, 429)):
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            fast, ordinary = (ask(running, body, each, **headers) for each in (FAST, ORDINARY))
            assert (fast.status_code, ordinary.status_code) == (status, status)
            if status != 429:  # whose Retry-After counts down
                assert told(fast) == told(ordinary)
            assert fast.headers.get("www-authenticate") == ordinary.headers.get("www-authenticate")
    assert len(ways) == 5


def test_it_is_measured_and_logged_as_its_route(
    running: Any, ways: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def counted() -> float:
        lines = running.client.get("/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith("radsearch_http_requests_total") and OK in line]
        return float(line.rpartition(" ")[2])

    def logged() -> list[logging.LogRecord]:
        return [
            record
            for record in caplog.records
            if record.getMessage() == "request" and getattr(record, "route", "") == "/v1/search"
        ]

    with caplog.at_level(logging.INFO, "service.middleware"):
        ask(running, b'{"query": "red shoes", "user_id": "u"}', FAST)
        until(lambda: len(logged()) == 1)  # written after the answer, by the server's thread
        before = counted()
        answer = ask(running, b'{"query": "red shoes", "user_id": "u"}', FAST)
        until(lambda: len(logged()) == 2)
    assert counted() == before + 1
    assert len(ways) == 2
    line = logged()[-1]
    assert (line.status, line.variants) == (200, [answer.json()["variant"]])  # type: ignore[attr-defined]


def test_an_event_loop_that_is_behind_refuses_before_anything_is_read(
    start_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_service() as running:
        monkeypatch.setattr(LoopLag, "per_search_s", 3_600.0)
        response = running.client.post("/v1/search", content=b"no JSON", headers={"Content-Type": FAST})
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "3600"
        assert response.json()["type"] == "urn:radsearch:problem:overloaded"
        assert response.json()["request_id"] == response.headers["X-Request-Id"]
        assert running.metric("radsearch_searches_total", outcome="overloaded", variant="none") == 1
        monkeypatch.undo()
        assert running.client.post("/v1/search", json={"query": "red shoes"}).status_code == 200
