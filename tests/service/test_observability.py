import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.logs import JsonFormatter


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


def test_a_request_is_one_line_with_its_id(running: Any, log_lines: io.StringIO) -> None:
    response = running.client.post("/v1/search", json={"query": "a secret wish", "user_id": "ada"})
    (line,) = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert line["request_id"] == response.headers["x-request-id"] == response.json()["request_id"]
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/search", 200)
    assert line["level"] == "info"
    assert line["ms"] > 0
    assert "secret" not in log_lines.getvalue()
    assert "ada" not in log_lines.getvalue()


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
        families = {
            family.name: family
            for family in text_string_to_metric_families(running.client.get("/metrics").text)
        }
    assert sample(families, "radsearch_searches_total", variant="sft", outcome="ok") == 2
    assert sample(families, "radsearch_searches_total", variant="sft", outcome="invalid-request") == 1
    assert (
        sample(families, "radsearch_http_requests_total", route="/v1/search", method="POST", status="200")
        == 2
    )
    assert sample(families, "radsearch_events_total", type="cart") == 1
    assert sample(families, "radsearch_redis_up") == 1
    assert sample(families, "radsearch_queue_depth") == 0
    assert sample(families, "radsearch_batch_size_sum") == 2
    assert sample(families, "radsearch_fill_ratio_sum") == 2
    for stage in ("tokenize", "queue", "decode", "items", "total"):
        assert sample(families, "radsearch_stage_seconds_count", stage=stage) == 2


def sample(families: dict[str, Any], name: str, **labels: str) -> float:
    (value,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return value


def test_no_request_can_make_labels_grow(running: Any) -> None:
    for n in range(20):
        running.client.get(f"/v1/unknown-{n}")
        running.client.get(f"/page/unknown-{n}.js")
        running.client.request(f"METHOD{n}", "/v1/search")
        running.client.post("/v1/search", json={"query": "red", "user_id": f"user-{n}"})
    text = running.client.get("/metrics").text
    assert not re.search("unknown-|METHOD|user-", text)


def test_health(running: Any) -> None:
    assert running.client.get("/livez").json() == {"status": "alive"}
    assert running.client.get("/readyz").json() == {"status": "ready"}
