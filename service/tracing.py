"""Spans for OpenTelemetry: of each search, its stages, and the device batch it was in.

FastAPI makes the span of the request, as a child of the caller's ``traceparent``. Without an endpoint the SDK
is not even imported, and all that a search pays is the question whether it is traced.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import NamedTuple

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NoOpTracerProvider,
    Span,
    SpanContext,
    StatusCode,
    TracerProvider,
    get_current_span,
)

SCOPE = "radsearch"
UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})


class Stage(NamedTuple):
    """A stage of a search that is over.

    Attributes:
        name: of it.
        began: by time.perf_counter.
        seconds: that it took.
        batch: span of the device batch that it was in.
    """

    name: str
    began: float
    seconds: float
    batch: SpanContext | None = None


class Tracing:
    """Makes spans, and sends them where a collector listens.

    Args:
        endpoint: URL of a collector that takes OTLP over HTTP, without ``/v1/traces``; None traces nothing.
            How much is sampled, headers, timeouts and the like are read from the variables ``OTEL_…``.
    """

    def __init__(self, endpoint: str | None) -> None:
        pipeline = _exporting(endpoint) if endpoint else _Pipeline(NoOpTracerProvider(), NoOpTracerProvider())
        self._pipeline = pipeline
        self._is_on = endpoint is not None
        self._searches = pipeline.requests.get_tracer(SCOPE)
        self._batches = pipeline.batches.get_tracer(SCOPE)

    @property
    def of_requests(self) -> TelemetryConfig:
        """What FastAPI shall tell of requests."""
        return {
            "tracing": self._is_on,
            "tracer_provider": self._pipeline.requests,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in UNTRACED,
        }

    @contextmanager
    def search(self, request_id: str, variant: str) -> Iterator[Span]:
        """The span of one search, a part of the request's; the caller sets how it came out."""
        if current_span() is None:
            yield INVALID_SPAN
            return
        attributes = {"radsearch.request_id": request_id, "radsearch.variant": variant}
        # What an error says may quote the request, so it stays out; so does its trace of calls.
        with self._searches.start_as_current_span(
            "search", attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            yield span

    def stages(self, stages: Iterable[Stage]) -> None:
        """Tell the stages of the current search, which are over."""
        if current_span() is None:
            return
        for stage in stages:
            links = [Link(stage.batch)] if stage.batch is not None else None
            span = self._searches.start_span(stage.name, links=links, start_time=_epoch_ns(stage.began))
            span.end(_epoch_ns(stage.began + stage.seconds))

    def batch(
        self, requests: Sequence[SpanContext], size: int, began: float, error: Exception | None = None
    ) -> SpanContext | None:
        """Tell a device batch that has just ended.

        Args:
            requests: spans of the searches in it.
            size: queries in it.
            began: by time.perf_counter.
            error: that ended it.

        Returns:
            Its span, of a trace of its own; None where no search in it is traced.
        """
        if not requests:
            return None
        span = self._batches.start_span(
            "batch",
            attributes={"radsearch.batch_size": size},
            links=[Link(request) for request in requests],
            start_time=_epoch_ns(began),
        )
        if error is not None:
            span.set_status(StatusCode.ERROR, type(error).__name__)
        span.end()
        return span.get_span_context()

    def close(self) -> None:
        """Send what is left; blocks, for some seconds where the collector is away."""
        self._pipeline.close()


def name_request(method: str, route: str) -> None:
    """Call the span of a request by its route, as FastAPI does, for one that does not come to its router."""
    span = get_current_span()
    if span.is_recording():
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)


def current_span() -> SpanContext | None:
    """The span that the current task works in; None where it is not traced."""
    span = get_current_span()
    return span.get_span_context() if span.is_recording() else None


class _Pipeline(NamedTuple):
    """Where spans go.

    Attributes:
        requests: sampled as ``OTEL_TRACES_SAMPLER`` says.
        batches: all of them; there is only a span where one of the requests is sampled.
        close: sends what is left.
    """

    requests: TracerProvider
    batches: TracerProvider
    close: Callable[[], None] = lambda: None


def _exporting(endpoint: str) -> _Pipeline:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider as ExportingProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    ours = Resource.create({"service.name": "radsearch", "service.version": version("radsearch")})
    resource = ours.merge(OTELResourceDetector().detect())  # what the environment says goes first
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))
    requests = ExportingProvider(resource=resource, shutdown_on_exit=False)
    batches = ExportingProvider(resource=resource, shutdown_on_exit=False, sampler=ALWAYS_ON)
    for provider in (requests, batches):
        provider.add_span_processor(processor)
    return _Pipeline(requests, batches, processor.shutdown)


def _epoch_ns(instant: float) -> int:
    """Nanoseconds since 1970 of an instant by time.perf_counter."""
    return time.time_ns() - int(1e9 * (time.perf_counter() - instant))
