"""Bytes that no well-meaning client sends: never a 5xx, never another shape of error than a problem."""

import json
import random
import socket
import string
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPException, HTTPResponse
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
PATHS = ["/v1/search", "/v1/search/batch", "/v1/events"]
EXAMPLES = 150
ROUNDS = 200

nasty_text = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=["Cs", "Cf", "Cc", "Co", "Mn", "Zl", "Zp"]), max_size=20),
    st.sampled_from(
        [
            "\u202ered\u202c",
            "\u2066red\u2069\u200f",
            "a\x00b",
            "\ud800",
            "\udfff\ud800",
            "z" + "\u0301" * 300,
            "ﷺ" * 100,
            "👩‍👩‍👧‍👦" * 40,
            "\ufffe\uffff",
            "<script>alert(1)</script>",
            "{{7*7}}${7*7}%(x)s%n",
            "' OR 1=1 --",
            "../../etc/passwd",
            "\r\nX-Injected: 1",
        ]
    ),
)
nasty_numbers = st.one_of(
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 1e308, 5e-324, -0.0, 10**400]),
)
nasty_json = st.recursive(
    st.one_of(st.none(), st.booleans(), nasty_numbers, nasty_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(nasty_text, inner, max_size=4)),
    max_leaves=12,
)
conditions = st.one_of(
    nasty_json,
    st.dictionaries(
        st.sampled_from(["gte", "lte", "gt", "lt"]), st.one_of(nasty_numbers, nasty_json), max_size=3
    ),
    st.lists(st.one_of(nasty_text, nasty_numbers), max_size=5),
)
searches = st.fixed_dictionaries(
    {"query": st.one_of(nasty_text, nasty_json)},
    optional={
        "k": st.one_of(st.integers(1, 100), nasty_json),
        "user_id": st.one_of(nasty_text, nasty_json),
        "beam_width": st.one_of(st.integers(1, 64), nasty_json),
        "ordering": st.one_of(
            st.dictionaries(st.sampled_from(["tau", "words", "prior"]), nasty_numbers, max_size=3), nasty_json
        ),
        "explain": st.one_of(st.booleans(), nasty_json),
        "filters": st.one_of(
            nasty_json,
            st.dictionaries(
                st.sampled_from(["category", "brand", "price", "stock", "in_stock", "tags"]),
                conditions,
                max_size=4,
            ),
        ),
    },
)
events = st.fixed_dictionaries(
    {
        "request_id": st.one_of(nasty_text, nasty_json),
        "type": st.sampled_from(["click", "cart", "purchase"]),
        "item_id": st.one_of(nasty_text, nasty_json),
    },
    optional={
        "price": nasty_json,
        "quantity": nasty_json,
        "user_id": nasty_json,
        "event_id": st.one_of(nasty_text, nasty_json),
        "event_time": st.one_of(st.datetimes().map(lambda time: f"{time.isoformat()}Z"), nasty_json),
    },
)
bodies = {
    "/v1/search": st.one_of(searches, nasty_json),
    "/v1/search/batch": st.one_of(
        st.fixed_dictionaries({"searches": st.lists(searches, max_size=3)}), nasty_json
    ),
    "/v1/events": st.one_of(events, nasty_json),
}


def assert_sound(response: httpx.Response) -> None:
    """An answer, or a problem that blames the client."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert "Traceback" not in response.text
    json.loads(response.content, parse_constant=refuse_constant)


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("path", PATHS)
def test_json_of_every_kind(path: str, running: Any) -> None:
    """Lone surrogates, bidi, nulls, NaN, numbers of any size: Python writes them all as JSON."""

    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=bodies[path])
    def send(body: Any) -> None:
        assert_sound(running.client.post(path, content=json.dumps(body), headers=JSON))

    send()


DEEP = 20_000


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field", ["query", "filters", "searches", "item_id", "anything"])
@pytest.mark.parametrize(
    "nested",
    [
        "[" * DEEP + "]" * DEEP,
        "[" * DEEP,
        '{"a":' * 9_000 + "1" + "}" * 9_000,
        "[" * 900 + "]" * 900,
        '{"a":' * 900 + "1" + "}" * 900,
        '[{"a":' * 400 + "1" + "}]" * 400,
        "[" + "1," * 30_000 + "1]",
        '"' + "x" * 60_000 + '"',
        "9" * 60_000,
        "-1e999999999",
        "1" + "0" * 5_000 + ".5",
    ],
    ids=[
        "arrays",
        "open",
        "objects",
        "fewer-arrays",
        "fewer-objects",
        "mixed",
        "wide",
        "long",
        "digits",
        "exponent",
        "fraction",
    ],
)
def test_json_that_is_deep_wide_or_long_is_refused(path: str, field: str, nested: str, running: Any) -> None:
    content = f'{{"query": "red", "{field}": {nested}}}'
    response = running.client.post(path, content=content, headers=JSON)
    assert_sound(response)
    assert response.status_code in (400, 422)


@pytest.mark.parametrize(
    "content",
    [
        b'{"query": "red", "k": NaN}',
        b'{"query": "red", "k": Infinity}',
        b'{"query": "red", "filters": {"price": {"gte": -Infinity}}}',
        b'{"query": "red", "filters": {"price": NaN}}',
        b'{"query": "red", "k": 1E400}',
        b'{"query": "red", "k": 01}',
        b'{"query": "red", "query": 5}',
        b'{"query": "\xff"}',
        b'{"query": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"query": 5}',
        '{"query": 5}'.encode("utf-16"),
        b'{"query": "\\ud800\\u0041"}',
        b'{"query": "red",}',
        b"{'query': 'red'}",
        b'{"query": "red"} {"query": "red"}',
        b'{"__proto__": {}, "query": "red"}',
    ],
)
def test_json_that_is_refused(content: bytes, running: Any) -> None:
    response = running.client.post("/v1/search", content=content, headers=JSON)
    assert_sound(response)
    assert response.status_code in (400, 422)


def test_of_a_key_twice_the_last_one_holds(running: Any) -> None:
    content = b'{"query": 5, "query": "red", "k": 3}'
    assert len(running.client.post("/v1/search", content=content, headers=JSON).json()["items"]) == 3


ODD_HEADERS = [
    {"Authorization": "Bearer \xff"},
    {"Cookie": "radsearch_id=" + "x" * 4_000},
    {"Cookie": ";=;=;;radsearch_id=\xff"},
    {"Content-Type": "application/json; charset=klingon"},
    {"Content-Type": "application/json; " + "x" * 4_000},
    {"Content-Encoding": "gzip"},
    {"Accept": "image/png"},
    {"Accept-Encoding": "zstd, br;q=9"},
    {"Host": "evil.example"},
    {"Origin": "https://evil.example"},
    {"X-Forwarded-For": "a:b, ::1, \xff"},
    {"X-Forwarded-Proto": "javascript"},
    {"X-Request-ID": "<script>"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"traceparent": "00-zz-zz-zz"},
    {"tracestate": "x" * 4_000},
    {"baggage": "=,;%"},
    {"Expect": "100-continue"},
    {"Connection": "Upgrade", "Upgrade": "websocket"},
    {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQ"},
    {"Range": "bytes=0-1"},
    {"If-None-Match": "*"},
]


@pytest.mark.parametrize("odd", ODD_HEADERS, ids=lambda odd: next(iter(odd)))
def test_odd_headers_change_nothing(odd: dict[str, str], running: Any) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in (JSON | odd).items()]
    response = running.client.post("/v1/search", content=b'{"query": "red"}', headers=headers)
    assert_sound(response)
    assert response.status_code == 200
    assert "<script>" not in str(response.headers)


@pytest.fixture(scope="module")
def strict(start_service: Any) -> Iterator[Any]:
    """A service that waits a second for what is missing."""
    with start_service(client_timeout_s=1.0) as running:
        yield running
        families = running.app.state.metrics.registry.collect()
        samples = [sample for family in families for sample in family.samples]
        requests = [sample for sample in samples if sample.name == "radsearch_http_requests_total"]
        assert requests
        assert [sample for sample in requests if sample.labels["status"].startswith("5")] == []


def exchange(running: Any, requests: list[bytes]) -> list[tuple[int, bytes] | None]:
    """Send each on a connection of its own and read the first answers; None where the server only closes."""
    url = urlsplit(running.url)
    with ExitStack() as stack:
        clients = []
        for request in requests:
            client = stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=30))
            with suppress(ConnectionError):  # it is refused while it is sent
                client.sendall(request)
            clients.append(client)
        return [first_answer(client) for client in clients]


def first_answer(client: socket.socket) -> tuple[int, bytes] | None:
    try:
        response = HTTPResponse(client)
        response.begin()
        return response.status, response.read()
    except (ConnectionError, HTTPException):
        return None


BODY = b'{"query": "red"}'
START = b"POST /v1/search HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (START + b"Content-Length: 16\r\n\r\n" + BODY, {200}),
        (START + b"Content-Length: 15\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: 17\r\n\r\n" + BODY, {408}),
        (START + b"Content-Length: -1\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: x\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: +16\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: 16, 16\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: %s\r\n\r\n" % (b"9" * 5_000) + BODY, {400}),
        (START + b"Content-Length: 99999999999\r\n\r\n" + BODY, {413}),
        (START + b"Content-Length: 16\r\nContent-Length: 5\r\n\r\n" + BODY, {400}),
        (START + b"Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY, {400}),
        (START + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n", {200}),
        (START + b"Transfer-Encoding: chunked\r\n\r\n10;x=y\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n", {200}),
        (START + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY, {400}),
        (START + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + BODY, {400}),
        (START + b"Transfer-Encoding: gzip, chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n", {200, 400}),
        (START + b"\r\n" + BODY, {422}),
        (START + b"Bad Header: x\r\nContent-Length: 16\r\n\r\n" + BODY, {400}),
        (START + b"X: a\x00b\r\nContent-Length: 16\r\n\r\n" + BODY, {400}),
        (START + b" folded: x\r\nContent-Length: 16\r\n\r\n" + BODY, {200, 400}),
        (b"GET /livez\r\n\r\n", {200, 400}),
        (b"GET /%ff%fe%00 HTTP/1.1\r\nHost: shop\r\n\r\n", {404}),
        (b"GET /page/%2e%2e/%2e%2e/app.py HTTP/1.1\r\nHost: shop\r\n\r\n", {404}),
        (b"GET /page/..%5c..%5capp.py HTTP/1.1\r\nHost: shop\r\n\r\n", {404}),
        (b"GET /page/%00 HTTP/1.1\r\nHost: shop\r\n\r\n", {404}),
        (b"GET //evil.example/ HTTP/1.1\r\nHost: shop\r\n\r\n", {404}),
        (b"GET http://evil.example/livez HTTP/1.1\r\nHost: shop\r\n\r\n", {200, 404}),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: shop\r\n\r\n", {400, 404}),
        (b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", {400, 404, 405}),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: shop\r\n\r\n", {400, 404, 405}),
        (b"TRACE / HTTP/1.1\r\nHost: shop\r\n\r\n", {405}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
        (b"NONSENSE / HTTP/1.1\r\nHost: shop\r\n\r\n", {400}),
    ],
)
def test_http_that_is_out_of_the_ordinary(request_: bytes, expected: set[int], strict: Any) -> None:
    (answered,) = exchange(strict, [request_])
    assert answered is not None
    assert answered[0] in expected, answered
    if answered[0] >= 400:
        assert json.loads(answered[1])["type"].startswith("urn:radsearch:problem:")


def mutations(rng: random.Random) -> Iterator[bytes]:
    """Good requests with bytes changed, cut, doubled or put elsewhere."""
    good = START + b"Content-Length: 16\r\n\r\n" + BODY
    chunked = START + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"
    while True:
        request = bytearray(rng.choice([good, chunked, good + good]))
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(request))
            length = rng.choice([1, 1, 2, 8, 40])
            match rng.randrange(4):
                case 0:
                    request[at] = rng.randrange(256)
                case 1:
                    del request[at : at + length]
                case 2:
                    request[at:at] = request[at : at + length] * rng.choice([1, 2, 50])
                case _:
                    request[at:at] = (
                        rng.choice([b"\r\n", b"\x00", b"\xff", b":", b" ", b'"', b"0", b"{"]) * length
                    )
            if not request:
                break
        yield bytes(request)


def test_requests_with_bytes_out_of_place(strict: Any) -> None:
    requests = list(islice(mutations(random.Random(7)), ROUNDS))
    answered = exchange(strict, requests)
    statuses = Counter(answer[0] for answer in answered if answer)
    assert set(statuses) <= {200, 400, 404, 405, 408, 413, 415, 422, 431}, statuses
    assert {200, 400} <= set(statuses), statuses
    assert strict.search()["items"]


def test_an_answer_that_is_due_comes_before_the_end(running: Any) -> None:
    (answered,) = exchange(running, [START + b"Content-Length: 16\r\n\r\n" + BODY + b"nonsense\r\n\r\n"])
    assert answered is not None
    assert answered[0] == 200


def test_an_upgrade_is_declined_and_the_request_served(running: Any) -> None:
    """As Java's client offers it with its first request; the second one comes on the same connection."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    url = urlsplit(running.url)
    with socket.create_connection((url.hostname, url.port), timeout=30) as client:
        for extra in (offer, b""):
            client.sendall(START + extra + b"Content-Length: 16\r\n\r\n" + BODY[:5])
            client.sendall(BODY[5:])
            answered = first_answer(client)
            assert answered is not None
            assert (answered[0], bool(json.loads(answered[1])["items"])) == (200, True)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/page/{}", "/{}", "/v1/search?q={}", "/swagger/{}", "/openapi.json?{}"]
)
def test_no_page_repeats_what_it_was_asked(path: str, running: Any) -> None:
    marked = "<script>" + string.ascii_letters + "</script>"
    response = running.client.get(
        path.format(marked),
        headers={"Referer": marked, "User-Agent": marked, "Cookie": f"radsearch_id={marked}"},
    )
    assert response.status_code < 500
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    if response.headers["content-type"].startswith("text/html"):
        assert string.ascii_letters not in response.text
    else:
        assert response.headers["content-type"].startswith("application/")
