"""Spans as a collector receives them: a real OTLP over HTTP server that decodes what it is sent."""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@dataclass
class Collector:
    """What was received.

    Attributes:
        url: that it listens on.
        spans: in the order of arrival.
        resource: attributes of what sent them.
    """

    url: str
    spans: list[Span] = field(default_factory=list)
    resource: dict[str, str] = field(default_factory=dict)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Span) -> dict[str, Span]:
        """Spans right below another, by name."""
        return {span.name: span for span in self.spans if span.parent_span_id == parent.span_id}


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            for told in ExportTraceServiceRequest.FromString(body).resource_spans:
                collector.resource.update({a.key: a.value.string_value for a in told.resource.attributes})
                collector.spans += [span for scope in told.scope_spans for span in scope.spans]
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


def attributes(span: Span) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def links(span: Span) -> set[tuple[bytes, bytes]]:
    return {(link.trace_id, link.span_id) for link in span.links}


def test_a_search_is_a_trace_that_goes_on_from_the_caller(start_service: Any, collector: Collector) -> None:
    with start_service(otlp_endpoint=collector.url) as running:
        response = running.client.post(
            "/v1/search", json={"query": "a secret wish"}, headers={"traceparent": CALLER}
        )
        answer = response.json()
    (request,) = collector.named("POST /v1/search")
    assert request.kind == Span.SPAN_KIND_SERVER
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    assert attributes(request)["http.response.status_code"] == 200

    search = collector.children(request)["search"]
    told = attributes(search)
    assert told["radsearch.request_id"] == answer["request_id"]
    assert (told["radsearch.variant"], told["radsearch.outcome"]) == ("sft", "ok")

    stages = collector.children(search)
    assert list(stages) == ["tokenize", "queue", "decode", "items"]
    for name, stage in stages.items():
        took_ms = (stage.end_time_unix_nano - stage.start_time_unix_nano) / 1e6
        assert took_ms == pytest.approx(answer["timings_ms"][name], abs=0.01)
    in_order = [stages[name].start_time_unix_nano for name in ("tokenize", "queue", "decode", "items")]
    assert in_order == sorted(in_order)

    (batch,) = collector.named("batch")
    assert attributes(batch)["radsearch.batch_size"] == 1
    assert links(batch) == {(search.trace_id, search.span_id)}
    assert links(stages["decode"]) == {(batch.trace_id, batch.span_id)}

    assert collector.resource["service.name"] == "radsearch"
    assert "secret" not in "".join(map(str, collector.spans))


def test_a_batch_is_linked_to_every_search_in_it(start_service: Any, collector: Collector) -> None:
    searches = [{"query": query} for query in ("red", "blue", "red")]
    with start_service(otlp_endpoint=collector.url) as running:
        answer = running.client.post("/v1/search/batch", json={"searches": searches}).json()
    found = {attributes(span)["radsearch.request_id"]: span for span in collector.named("search")}
    assert set(found) == {result["request_id"] for result in answer["results"]}
    (request,) = collector.named("POST /v1/search/batch")
    assert {span.parent_span_id for span in found.values()} == {request.span_id}
    batches = collector.named("batch")
    assert set.union(*map(links, batches)) == {(span.trace_id, span.span_id) for span in found.values()}
    decodes = collector.named("decode")
    assert len(decodes) == 3
    assert set.union(*map(links, decodes)) == {(span.trace_id, span.span_id) for span in batches}


def test_a_failure_says_how_it_came_out_and_nothing_of_the_request(
    start_service: Any, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the insides")

    with start_service(otlp_endpoint=collector.url, result_cache=0) as running:
        monkeypatch.setattr("service.batcher._search", broken)
        assert running.client.post("/v1/search", json={"query": "red"}).status_code == 500
    (request,), (search,), (batch,) = map(collector.named, ("POST /v1/search", "search", "batch"))
    assert request.status.code == batch.status.code == 2
    assert attributes(search)["radsearch.outcome"] == "error"
    assert batch.status.message == "RuntimeError"
    assert "insides" not in "".join(map(str, collector.spans))


def test_what_the_caller_does_not_sample_and_probes_are_not_traced(
    start_service: Any, collector: Collector
) -> None:
    with start_service(otlp_endpoint=collector.url) as running:
        running.client.post("/v1/search", json={"query": "red"}, headers={"traceparent": UNSAMPLED})
        for path in ("/livez", "/readyz", "/metrics"):
            assert running.client.get(path).status_code == 200
        running.client.get("/v1/experiments")
    assert [span.name for span in collector.spans] == ["GET /v1/experiments"]


def test_the_environment_says_what_is_sampled_and_what_it_is_called(
    start_service: Any, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "search-eu")
    with start_service(otlp_endpoint=collector.url) as running:
        running.search()
        running.client.post("/v1/search", json={"query": "blue"}, headers={"traceparent": CALLER})
    assert len(collector.named("search")) == len(collector.named("batch")) == 1
    assert collector.resource["service.name"] == "search-eu"


def test_a_collector_that_is_away_costs_no_request(
    start_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with start_service(otlp_endpoint="http://127.0.0.1:9") as running:
        for _ in range(5):
            running.search()
