"""What the client sends again, and what not: broken connections, refusals, and proxies in between."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from radsearch.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlineError,
    NoAnswerError,
    OverloadedError,
    ProblemError,
    SearchAnswer,
)
from service.problems import DeadlineError as ServiceDeadlineError
from service.problems import error_document
from tests.service.scripted import Scripted, hang_up, page
from tests.service.waiting import until

GENEROUS_S = 30.0


def test_what_would_count_twice_is_sent_once() -> None:
    with Scripted(hang_up) as server, Client(server.url, deadline_s=1) as client:
        with pytest.raises(NoAnswerError):
            client.roll_back_traffic()
        assert len(server.requests) == 1
        with pytest.raises(NoAnswerError):
            client.search("red")
        assert len(server.requests) > 2


def event_ids(requests: list[str]) -> list[str]:
    return [json.loads(request.partition("\r\n\r\n")[2])["event_id"] for request in requests]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_event_is_sent_again_under_its_id(is_async: bool) -> None:
    async def tell(url: str) -> None:
        async with AsyncClient(url, deadline_s=1) as client:
            await client.event("r", "purchase", "i")

    with Scripted(hang_up) as server, Client(server.url, deadline_s=1) as client:
        with pytest.raises(NoAnswerError):
            if is_async:
                asyncio.run(tell(server.url))
            else:
                client.event("r", "purchase", "i")
        sent = event_ids(server.requests)
        assert len(sent) > 1
        assert len(set(sent)) == 1
        with pytest.raises(NoAnswerError):
            client.event("r", "purchase", "i")
        (another,) = set(event_ids(server.requests[len(sent) :]))
        assert another != sent[0]


def test_an_event_whose_answer_was_lost_is_in_the_log_once(start_service: Any, tmp_path: Path) -> None:
    log = tmp_path / "events"
    with start_service(event_log=log) as running:
        n_lost = iter(range(2))

        def forward(connection: socket.socket) -> None:
            """Pass the request on, but lose the first answers."""
            body = proxy.requests[-1].partition("\r\n\r\n")[2]
            answer = running.client.post(
                "/v1/events", content=body, headers={"Content-Type": "application/json"}
            )
            if next(n_lost, None) is None:
                connection.sendall(page(answer.text, "202 Accepted"))

        moment = datetime.now(UTC) - timedelta(days=1)
        with Scripted(forward) as proxy, Client(proxy.url) as client:
            client.event("r", "click", "i", event_time=moment)
        assert len(proxy.requests) == 3
        assert running.metric("radsearch_events_total", type="click") == 1
    (event,) = [json.loads(line) for file in log.iterdir() for line in file.read_text().splitlines()]
    assert event["event_id"] == event_ids(proxy.requests)[0]
    assert event["event_time"] == moment.isoformat(timespec="milliseconds")
    assert event["time"] > event["event_time"]


def test_what_was_never_sent_is_sent_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", deadline_s=0.5) as client, pytest.raises(NoAnswerError):
        client.event("r", "click", "i")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_server_that_does_not_answer_is_given_up(is_async: bool) -> None:
    is_over = threading.Event()

    async def ask(url: str) -> None:
        async with AsyncClient(url, deadline_s=0.3) as client:
            await client.search("red")

    def sit(_: socket.socket) -> None:
        is_over.wait(GENEROUS_S)

    started = time.monotonic()
    with Scripted(sit) as server:
        with pytest.raises(NoAnswerError):
            if is_async:
                asyncio.run(ask(server.url))
            else:
                with Client(server.url, deadline_s=0.3) as client:
                    client.search("red")
        took_s = time.monotonic() - started
        is_over.set()
    assert took_s < GENEROUS_S / 2


def test_what_is_away_is_asked_again_when_it_said() -> None:
    """An event too: a refusal has written nothing."""
    away = page("{}", "503 Service Unavailable").replace(b"\r\n", b"\r\nRetry-After: 1\r\n", 1)
    script = iter([away, page('{"request_id": "r"}', "202 Accepted")])
    times = []

    def answer(connection: socket.socket) -> None:
        times.append(time.monotonic())
        connection.sendall(next(script))

    with Scripted(answer) as server, Client(server.url) as client:
        client.event("r", "click", "i")
    assert times[1] - times[0] >= 1


def ask(is_async: bool, url: str, call: Callable[[Any], Any], deadline_s: float = GENEROUS_S) -> Any:
    """What a call comes to by either client."""

    async def in_a_loop() -> Any:
        async with AsyncClient(url, deadline_s=deadline_s) as client:
            return await call(client)

    if is_async:
        return asyncio.run(in_a_loop())
    with Client(url, deadline_s=deadline_s) as client:
        return call(client)


def says(*answers: bytes) -> Callable[[socket.socket], None]:
    """One answer after the other; the last one again and again."""
    left = list(answers)

    def answer(connection: socket.socket) -> None:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return answer


BAD_GATEWAY = page("<html>bad gateway</html>", "502 Bad Gateway")
GATEWAY_TIMEOUT = page('{"message": "upstream timed out"}', "504 Gateway Timeout")
TOO_MANY = page('{"type": "about:blank"}', "429 Too Many Requests")
OTHER_PROBLEM = page(
    '{"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": ""}', "502 Bad Gateway"
)


@pytest.mark.parametrize("is_async", [False, True])
def test_what_breaks_behind_a_proxy_is_sent_again(is_async: bool) -> None:
    accepted = page('{"request_id": "r"}', "202 Accepted")
    with Scripted(says(BAD_GATEWAY, GATEWAY_TIMEOUT, OTHER_PROBLEM, accepted)) as proxy:
        ask(is_async, proxy.url, lambda client: client.event("r", "purchase", "i"))
        assert len(proxy.requests) == 4
        assert len(set(event_ids(proxy.requests))) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_behind_a_proxy_too_what_would_count_twice_is_sent_once(status: str, is_async: bool) -> None:
    with Scripted(says(page("<html>broken</html>", status))) as proxy:
        with pytest.raises(ProblemError, match="broken") as refused:
            ask(is_async, proxy.url, lambda client: client.roll_back_catalogue("sft"))
        assert refused.value.problem.status == int(status[:3])
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_proxy_that_never_mends_is_told_at_the_deadline(is_async: bool) -> None:
    with Scripted(says(BAD_GATEWAY)) as proxy:
        with pytest.raises(ProblemError, match="bad gateway") as refused:
            ask(is_async, proxy.url, lambda client: client.search("red"), deadline_s=1)
        assert not refused.value.problem.is_of_radsearch
        assert len(proxy.requests) > 2


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("first", "call", "error"),
    [
        (BAD_GATEWAY, lambda client: client.search("red"), ProblemError),
        (TOO_MANY, lambda client: client.search("red"), OverloadedError),
        (TOO_MANY, lambda client: client.roll_back_traffic(), NoAnswerError),  # it may have been rolled back
    ],
    ids=["broken", "refused", "refused-and-harmful-twice"],
)
def test_a_last_attempt_without_an_answer(
    first: bytes, call: Callable[[Any], Any], error: type[ClientError], is_async: bool
) -> None:
    """What it is told is what led to it, unless that would hide that it may have done something."""
    is_over = threading.Event()
    left = [first]

    def answer(connection: socket.socket) -> None:
        if left:
            connection.sendall(left.pop())
        else:
            is_over.wait(GENEROUS_S)

    with Scripted(answer) as server:
        try:
            with pytest.raises(error):
                ask(is_async, server.url, call, deadline_s=0.4)
        finally:
            is_over.set()
    assert len(server.requests) > 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_deadline_of_the_service_has_passed_for_good(is_async: bool) -> None:
    document = error_document(ServiceDeadlineError("no answer within 5 ms"), "r")
    with Scripted(says(page(document.model_dump_json(), "504 Gateway Timeout"))) as proxy:
        with pytest.raises(DeadlineError, match="within 5 ms"):
            ask(is_async, proxy.url, lambda client: client.search("red", timeout_ms=5))
        assert len(proxy.requests) == 1


@contextmanager
def proxy_of(upstream: str) -> Iterator[tuple[str, list[int]]]:
    """A proxy that answers 502 while nobody listens behind it; its address, and the statuses it has sent."""
    sent: list[int] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kind = {"Content-Type": self.headers["Content-Type"]}
            try:
                answer = httpx.post(upstream + self.path, content=body, headers=kind, timeout=GENEROUS_S)
                status, text = answer.status_code, answer.content
            except httpx.ConnectError:
                status, text = 502, b"<html>bad gateway</html>"
            sent.append(status)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", sent
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_search_waits_behind_a_proxy_until_the_service_is_there(start_service: Any, is_async: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    answers: list[SearchAnswer] = []
    with proxy_of(f"http://127.0.0.1:{port}") as (url, sent):
        shopper = threading.Thread(
            target=lambda: answers.append(ask(is_async, url, lambda client: client.search("red", k=2)))
        )
        shopper.start()
        until(lambda: len(sent) > 1)
        with start_service(port=port):
            shopper.join()
    assert answers[0].returned == 2
    assert sent == [502] * (len(sent) - 1) + [200]
