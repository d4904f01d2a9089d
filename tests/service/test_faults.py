import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service import store
from tests.service.redis_server import new_valkey
from tests.service.waiting import until


@contextmanager
def device_held(running: Any) -> Iterator[None]:
    """Keep the only worker busy with its next batch: what comes then waits."""
    release = threading.Event()
    engine = running.service.catalogue.snapshot("sft").variant.engine
    search = engine.search

    def held(*arguments: Any) -> Any:
        release.wait()
        return search(*arguments)

    engine.search = held
    try:
        yield
    finally:
        release.set()
        del engine.search


@contextmanager
def clients(running: Any) -> Iterator[Callable[..., Future[httpx.Response]]]:
    """Send searches without waiting for their answers."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda query, **fields: threads.submit(
            running.client.post, "/v1/search", json={"query": query, **fields}
        )


def waiting(running: Any, count: int) -> Callable[[], bool]:
    return lambda: running.metric("radsearch_queue_depth") == count


def running_batches(running: Any, count: int) -> Callable[[], bool]:
    return lambda: running.metric("radsearch_batch_size_count") == count


def test_a_full_queue_answers_429_at_once(start_service: Any) -> None:
    with start_service(queue_limit=1) as running, clients(running) as send:
        with device_held(running):
            first = send("first")
            until(running_batches(running, 1))
            second = send("second")
            until(waiting(running, 1))
            refused = send("third").result()
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["type"] == "urn:radsearch:problem:overloaded"
        assert first.result().status_code == second.result().status_code == 200


def test_before_a_search_is_refused_its_beam_is_narrower(start_service: Any) -> None:
    longest_ms = 2_000
    with start_service(max_queue_ms=longest_ms) as running, clients(running) as send:
        with device_held(running):
            first = send("first")
            until(running_batches(running, 1))
            time.sleep(0.6 * longest_ms / 1000)  # is what a query costs from now on
        assert first.result().json()["degraded"] == []
        with device_held(running):
            running_now = send("red")
            until(running_batches(running, 2))
            before_half = send("blue")
            until(waiting(running, 1))
            past_half = send("green")
            until(waiting(running, 2))
            refused = send("yellow").result()
        assert refused.status_code == 429
        assert [each.result().json()["degraded"] for each in (running_now, before_half)] == [[], []]
        answer = past_half.result().json()
        assert answer["degraded"] == ["beam"]
        assert running.metric("radsearch_shrunk_total") == 2, "the refused one was tried with fewer, too"
        asked = running.search("green", beam_width=4)
        assert asked["degraded"] == []
        assert answer["items"] == asked["items"]


def test_a_deadline_is_504(start_service: Any) -> None:
    with start_service() as running, clients(running) as send:
        with device_held(running):
            patient = send("red")
            until(running_batches(running, 1))
            late = send("blue", timeout_ms=20).result()
            assert late.status_code == 504
            assert late.json()["type"] == "urn:radsearch:problem:deadline-exceeded"
            assert "20 ms" in late.json()["detail"]
        assert patient.result().status_code == 200
        assert running.metric("radsearch_batch_size_sum") == 1, "the late one cost the device nothing"
        outcome = {"variant": "sft", "outcome": "deadline-exceeded"}
        assert running.metric("radsearch_searches_total", **outcome) == 1


def test_a_client_who_leaves_costs_the_device_nothing(start_service: Any) -> None:
    with start_service() as running, clients(running) as send:
        with device_held(running):
            stays = send("red")
            until(running_batches(running, 1))
            url = httpx.URL(running.url)
            with socket.create_connection((url.host, url.port)) as connection:
                body = b'{"query": "blue"}'
                head = f"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
                until(waiting(running, 1))
            until(waiting(running, 0))
        assert stays.result().status_code == 200
        assert running.metric("radsearch_dropped_total", reason="abandoned") == 1
        assert running.metric("radsearch_batch_size_sum") == 1
        assert running.metric(
            "radsearch_http_requests_total", route="/v1/search", method="POST", status="499"
        )


def test_a_client_who_leaves_in_the_middle_of_its_body(start_service: Any) -> None:
    with start_service() as running:
        url = httpx.URL(running.url)
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        until(
            lambda: (
                running.metric("radsearch_http_requests_total", route="other", method="POST", status="499")
                == 1
            )
        )
        assert running.search()["items"]


def test_equal_searches_at_once_are_decoded_once(start_service: Any) -> None:
    with start_service() as running, clients(running) as send:
        with device_held(running):
            answers = [send("red", user_id=f"user-{n}") for n in range(6)]
            until(lambda: running.metric("radsearch_coalesced_total") == 5)
        bodies = [answer.result().json() for answer in answers]
        assert running.metric("radsearch_batch_size_sum") == 1
    assert len({body["request_id"] for body in bodies}) == 6
    assert all(body["items"] == bodies[0]["items"] for body in bodies)


def test_redis_killed_and_back(start_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FIRST_RETRY_S", 0.02)
    with new_valkey() as server, start_service(redis_url=server.connection_url) as running:
        before = running.search(k=30)
        assert before["degraded"] == []
        server.terminate()
        without = running.search(k=30)
        assert without["degraded"] == ["redis"]
        assert without["items"] == before["items"], "the bundle's own copy says the same"
        assert running.client.get("/readyz").status_code == 200
        assert running.metric("radsearch_redis_up") == 0
        server.start()
        until(lambda: running.search(k=30)["degraded"] == [])
        assert running.search(k=30)["items"] == before["items"]
        assert running.metric("radsearch_redis_up") == 1
