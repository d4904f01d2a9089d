import io
import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.keys import Scope, add_key
from service.logs import JsonFormatter

T = TypeVar("T")


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the service logs, as it writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("service")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(before)


def eventually(look: Callable[[], T]) -> T:
    """What there is to see once there is something: a request is accounted for after its answer."""
    for _ in range(1000):
        if seen := look():
            return seen
        time.sleep(0.01)
    raise AssertionError("nothing came")


def test_a_request_is_one_line_with_its_id(running: Any, log_lines: io.StringIO) -> None:
    response = running.client.post("/v1/search", json={"query": "a secret wish", "user_id": "ada"})
    (line,) = eventually(lambda: [json.loads(line) for line in log_lines.getvalue().splitlines()])
    assert line["request_id"] == response.headers["x-request-id"] == response.json()["request_id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/search", 200)
    assert line["level"] == "info"
    assert line["ms"] > 0
    assert "secret" not in log_lines.getvalue()
    assert "ada" not in log_lines.getvalue()


@pytest.mark.parametrize(
    ("told", "written"),
    [
        ("half \ud83d of a pair", "half \ud83d of a pair"),
        (2**70, 2**70),
        (Path("a/b"), "a/b"),
        ("é\n", "é\n"),
    ],
)
def test_whatever_is_told_becomes_one_line(told: object, written: object, log_lines: io.StringIO) -> None:
    logging.getLogger("service").info("note", extra={"told": told})
    (line,) = log_lines.getvalue().splitlines()
    assert json.loads(line)["told"] == written


def test_the_line_tells_what_answered_and_for_whom(
    start_service: Any, log_lines: io.StringIO, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.SEARCH, "shop-backend")
    searches = [{"query": "a secret wish"}, {"query": "red", "k": 2}]
    with start_service(keys=tmp_path / "keys.toml") as running:
        running.client.headers["Authorization"] = f"Bearer {key}"
        running.client.post("/v1/search/batch", json={"searches": searches})
        running.client.post("/v1/search", json={"query": "another wish", "filters": {"colour": 1}})
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    answered, refused = (line for line in lines if line["message"] == "request")
    assert (answered["variants"], answered["degraded"]) == (["sft"], [])
    assert (refused["status"], refused["problem"]) == (422, "invalid-request")
    assert answered["key"] == refused["key"] == "shop-backend"
    assert "wish" not in log_lines.getvalue()
    assert key not in log_lines.getvalue()


def test_the_lines_of_a_traced_request_name_the_trace(
    start_service: Any, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    caller = {"traceparent": f"00-{trace_id}-{span_id}-01"}
    with start_service(otlp_endpoint="http://127.0.0.1:9") as running:
        running.client.post("/v1/search", json={"query": "red"}, headers=caller)
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    (line,) = (line for line in lines if line["message"] == "request")
    assert line["trace_id"] == trace_id


def test_probes_do_not_fill_the_log(running: Any, log_lines: io.StringIO) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert running.client.get(path).status_code == 200
    assert log_lines.getvalue() == ""


def test_an_unforeseen_error_is_in_the_log_and_not_in_the_answer(
    running: Any, log_lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the insides")

    monkeypatch.setattr(type(running.service.retriever), "_items", broken)
    response = running.client.post("/v1/search", json={"query": "red"})
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "insides" not in response.text
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    error = next(line for line in lines if line["level"] == "error")
    assert "the insides" in error["exception"]
    assert error["request_id"] == response.json()["request_id"]


def test_measurements_of_a_search(start_service: Any) -> None:
    with start_service() as running:
        running.search(k=4)
        running.search(k=4)
        running.client.post("/v1/search", json={"query": "red", "filters": {"colour": 1}})
        running.client.post("/v1/events", json={"request_id": "r", "type": "cart", "item_id": "i"})
        running.client.get("/livez")
        families = eventually(lambda: measured(running))
    assert sample(families, "radsearch_searches_total", variant="sft", outcome="ok") == 2
    of_search = {"route": "/v1/search", "method": "POST"}
    assert sample(families, "radsearch_http_requests_total", status="200", **of_search) == 2
    assert sample(families, "radsearch_http_requests_total", status="422", **of_search) == 1
    assert sample(families, "radsearch_events_total", type="cart") == 1
    assert sample(families, "radsearch_redis_up") == 1
    assert sample(families, "radsearch_queue_depth") == 0
    assert sample(families, "radsearch_batch_size_sum") == 2
    assert sample(families, "radsearch_fill_ratio_sum", variant="sft") == 2
    assert sample(families, "radsearch_search_seconds_count", variant="sft") == 2
    for stage in ("tokenize", "queue", "decode", "items", "total"):
        assert sample(families, "radsearch_stage_seconds_count", stage=stage) == 2


def measured(running: Any) -> dict[str, Any] | None:
    """Metric families by name, when the last request is among them."""
    families = text_string_to_metric_families(running.client.get("/metrics").text)
    by_name = {family.name: family for family in families}
    routes = {sample.labels["route"] for sample in by_name["radsearch_http_requests"].samples}
    return by_name if "/livez" in routes else None


def sample(families: dict[str, Any], name: str, **labels: str) -> float:
    (value,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return value


def odd_requests(running: Any, n: int) -> None:
    """Requests of every kind that a caller can vary at will, the n-th of each."""
    client = running.client
    for path in (f"/v1/unknown-{n}", f"/page/unknown-{n}.js", f"/v1/search/unknown-{n}", f"//unknown-{n}"):
        client.get(path)
        client.post(path, json={"query": "red"})
    for path in ("/v1/search", "/livez", f"/unknown-{n}"):
        client.request(f"METHOD{n}", path)
        client.request("PATCH", path)
    odd = f"odd-{n}"
    client.post("/v1/search", json={"query": odd, "user_id": odd}, headers={"X-Request-ID": odd})
    client.post("/v1/search", json={"query": odd, "filters": {odd: odd}})
    client.post("/v1/search", json={"query": odd, "variant": odd})
    client.post("/v1/search", json={"query": odd}, headers={"Cookie": f"radsearch_id={odd}", "Host": odd})
    client.post("/v1/search", content=odd, headers={"Content-Type": f"text/{odd}"})
    client.post("/v1/search", json={"query": odd}, headers={"Authorization": f"Bearer {odd}"})
    client.post("/v1/search/batch", json={"searches": [{"query": odd, "k": n + 1}]})
    for kind in ("click", odd):
        client.post("/v1/events", json={"request_id": odd, "type": kind, "item_id": odd})


def series(running: Any) -> set[tuple[str, str]]:
    """Every name with its labels."""
    families = text_string_to_metric_families(running.client.get("/metrics").text)
    return {(each.name, str(sorted(each.labels.items()))) for family in families for each in family.samples}


def test_no_request_can_make_labels_grow(running: Any) -> None:
    for n in range(15):
        odd_requests(running, n)
    series(running)  # asking for them is a request, too, and counts once it is answered
    before = series(running)
    for n in range(15, 30):
        odd_requests(running, n)
    assert series(running) == before
    assert not re.search("unknown-|METHOD|odd", running.client.get("/metrics").text)


def test_what_is_loaded_tells_how_full_its_answers_are(start_service: Any) -> None:
    with start_service() as running:
        (model,) = running.client.get("/v1/models").json()["models"]
        assert model["fill"] is None
        running.search(k=10)
        running.search(k=100)
        (model,) = running.client.get("/v1/models").json()["models"]
        assert model["fill"] == pytest.approx((10 / 10 + 60 / 100) / 2)


def test_replicas_of_one_catalogue_tell_the_same_epoch(start_service: Any) -> None:
    with start_service() as one, start_service() as other:
        assert one.metric("radsearch_items", variant="sft") == 60
        same = one.metric("radsearch_epoch", variant="sft")
        assert same == other.metric("radsearch_epoch", variant="sft") != 0
        new = [{"item_id": "n", "title": "new", "attributes": {}}]
        other.wait(other.service.catalogue.change(lambda offer: offer.upserted(new)))
        assert other.metric("radsearch_epoch", variant="sft") != same
        assert other.metric("radsearch_items", variant="sft") == 61


def test_health(running: Any) -> None:
    assert running.client.get("/livez").json() == {"status": "alive"}
    assert running.client.get("/readyz").json() == {"status": "ready"}
