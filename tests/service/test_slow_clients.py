import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

TIMEOUT_S = 1.0
BOUND_S = 30  # a client that is cut is cut by then, however busy the machine
MAX_CONNECTIONS = 20
BODY = json.dumps({"query": "red"}).encode()
HEADER = (
    b"POST /v1/search HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
REQUEST = HEADER % len(BODY) + BODY


@pytest.fixture(scope="module")
def strict(start_service: Any) -> Iterator[Any]:
    """A service without patience."""
    with start_service(client_timeout_s=TIMEOUT_S, max_connections=MAX_CONNECTIONS) as running:
        yield running


def connect(running: Any, receive_buffer: int | None = None) -> socket.socket:
    url = urlsplit(running.url)
    client = socket.socket()
    if receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(BOUND_S)
    client.connect((url.hostname, url.port))
    return client


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send byte by byte until it is all out or an answer comes; that answer, empty where there is none."""
    client.settimeout(0.05)
    end = time.monotonic() + BOUND_S
    for byte in data:
        assert time.monotonic() < end, "the server is as patient as the client"
        try:
            client.sendall(bytes([byte]))
            begun = client.recv(65_536)
            client.settimeout(BOUND_S)
            return begun + answer(client)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("all was sent")


def answer(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    with suppress(ConnectionResetError):  # the server closed while something of ours was unread
        while data := client.recv(65_536):
            received += data
    return received


def first_answer(client: socket.socket) -> int:
    """The status of the next answer, all of which is read."""
    response = HTTPResponse(client)
    response.begin()
    response.read()
    return response.status


def problem(response: bytes, status: int, kind: str) -> None:
    """A problem document, written by hand where no application could."""
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), response
    document = json.loads(body)
    assert document["status"] == status
    assert document["type"] == f"urn:radsearch:problem:{kind}"
    assert b"content-type: application/problem+json" in head.lower()
    assert f"x-request-id: {document['request_id']}".encode() in head.lower()
    assert b"connection: close" in head.lower()


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_header_that_comes_byte_by_byte(strict: Any) -> None:
    with connect(strict) as client:
        problem(drip(client, b"POST /v1/search HTTP/1.1\r\nX-Slow: " + b"x" * 10_000), 408, "request-timeout")


def test_a_second_header_that_comes_byte_by_byte(strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(REQUEST)
        assert first_answer(client) == 200
        problem(drip(client, b"POST /v1/search HTTP/1.1\r\nX-Slow: " + b"x" * 10_000), 408, "request-timeout")


def test_a_body_that_comes_byte_by_byte(strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(HEADER % 10_000)
        problem(drip(client, b" " * 9_999), 408, "request-timeout")


def test_chunks_that_come_one_by_one(strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(HEADER.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked"))
        problem(drip(client, b"1\r\nx\r\n" * 2_000), 408, "request-timeout")


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_a_connection_on_which_nothing_is_asked_closes_without_a_word(sent: bytes, strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(sent)
        assert answer(client) == b""


def test_blank_lines_do_not_keep_a_connection_open(strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(REQUEST)
        assert first_answer(client) == 200
        client.sendall(b"\r\n")
        assert answer(client) == b""


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /livez HTTP/1.1\r\nHost: shop\r\nX-Long: %s\r\n\r\n" % (b"x" * 40_000),
        b"GET /livez HTTP/1.1\r\nHost: shop\r\nX-Endless: %s" % (b"x" * 600_000),
        b"GET /livez HTTP/1.1\r\nHost: shop\r\n%s\r\n" % (b"X-Many: 1\r\n" * 6_000),
        b"GET /%s HTTP/1.1\r\nHost: shop\r\n\r\n" % (b"x" * 40_000),
        b"GET /%s" % (b"x" * 600_000),
    ],
    ids=["long", "endless", "many", "long-url", "endless-url"],
)
def test_a_header_that_is_too_large(request_: bytes, strict: Any) -> None:
    before = strict.metric("radsearch_connections_refused_total", kind="header-too-large")
    with connect(strict) as client:
        with suppress(ConnectionError):  # it is refused while it is sent
            client.sendall(request_)
        if received := answer(client):
            problem(received, 431, "header-too-large")
    eventually(lambda: strict.metric("radsearch_connections_refused_total", kind="header-too-large") > before)


def test_a_trailer_that_is_too_large(strict: Any) -> None:
    before = strict.metric("radsearch_connections_refused_total", kind="header-too-large")
    with connect(strict) as client:
        client.sendall(HEADER.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked"))
        client.sendall(b"1\r\nx\r\n0\r\nX-Endless: ")
        with suppress(ConnectionError):
            for _ in range(40):
                client.sendall(b"x" * 20_000)
        answer(client)
    eventually(lambda: strict.metric("radsearch_connections_refused_total", kind="header-too-large") > before)


def test_a_header_of_usual_size(strict: Any) -> None:
    assert strict.client.get("/livez", headers={"X-Long": "x" * 16_000}).status_code == 200


@pytest.mark.parametrize(
    "request_", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"hello\r\n\r\n"]
)
def test_what_is_not_http(request_: bytes, strict: Any) -> None:
    with connect(strict) as client:
        client.sendall(request_)
        problem(answer(client), 400, "malformed-http")


def test_a_client_that_does_not_read(strict: Any) -> None:
    """Its answers are dropped and its connection with them, while others are served."""
    batch = json.dumps({"searches": [{"query": "red", "k": 100}] * 32}).encode()
    request = HEADER.replace(b"/v1/search", b"/v1/search/batch") % len(batch) + batch
    before = strict.metric("radsearch_connections_refused_total", kind="not-reading")
    with connect(strict, receive_buffer=4_096) as client:
        client.settimeout(0.2)
        end = time.monotonic() + BOUND_S
        while strict.metric("radsearch_connections_refused_total", kind="not-reading") == before:
            assert time.monotonic() < end
            try:
                client.sendall(request)
            except (TimeoutError, ConnectionError):
                time.sleep(0.05)
    assert strict.search()["items"]


def test_connections_are_bounded(strict: Any) -> None:
    """One too many gets a problem; when the others are cut, there is room again."""
    strict.client.close()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(strict)) for _ in range(MAX_CONNECTIONS + 5)]
        problem(answer(clients[-1]), 503, "too-many-connections")
    assert strict.metric("radsearch_connections_refused_total", kind="too-many-connections") >= 1

    def is_served() -> bool:
        try:
            return httpx.get(f"{strict.url}/livez").status_code == 200
        except httpx.TransportError:
            return False

    eventually(is_served)
    strict.client = httpx.Client(base_url=strict.url, timeout=30)


@pytest.mark.parametrize(
    ("before", "after", "warns"),
    [
        ((64, 4_096), (1_256, 4_096), False),
        ((64, 1_000), (1_000, 1_000), True),
        ((2_000, 4_096), (2_000, 4_096), False),
    ],
)
def test_a_process_may_open_as_many_files_as_it_has_connections(
    before: tuple[int, int], after: tuple[int, int], warns: bool
) -> None:
    program = f"""
import logging, resource
from service.server import allow_connections
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_NOFILE, {before})
allow_connections(1_000)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(after)
    assert ("ulimit -n" in done.stderr) is warns
