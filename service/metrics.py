"""What Prometheus is told; every label takes values from a bounded set."""

import os
from hashlib import blake2b

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MEDIA_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client keeps the measurements of several processes in files."""

STAGES = ("tokenize", "queue", "decode", "items", "total")
REFUSALS = ("request-timeout", "not-reading", "header-too-large", "malformed-http", "too-many-connections")
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
TENTHS = tuple(tenth / 10 for tenth in range(11))


class Metrics:
    """All measurements of one service, in a registry of its own.

    Where the service has several processes, each of them exposes those of all. Counters and histograms are
    summed up. Every gauge declares a ``multiprocess_mode`` that makes one value of those of the processes
    that live (``livesum``, ``livemin``, ``livemax``); without one there would be a series per process id.

    Attributes:
        searches: by variant and outcome.
        requests: HTTP requests by route, method and status.
        batch_size: prompts per device batch.
        queue_depth: prompts that wait for the device.
        coalesced: searches that joined an equal one in flight.
        dropped: prompts dropped before they cost device time, by reason.
        device_faults: batches that failed; each is run again in halves until one prompt is to blame.
        shrunk: searches whose beam was made narrower to spare the device.
        cache: searches by where their result was kept: memory, redis, or miss.
        fill: items returned per item asked for, by variant.
        search_seconds: time of answered searches, by variant.
        redis_faults: what Redis failed to do.
        redis_up: 1 while Redis answers, 0 while the bundle's own copy does.
        event_log_faults: events that could not be written.
        event_log_bytes: written to the event log.
        event_log_seconds: from the oldest event of a group to the disk.
        events: shoppers' events by type.
        connections_refused: connections that ended without an answer of the application, by kind of problem.
        rate_limited: requests refused by the rate limit, by what it knows the caller by: key, address.
        processes: that serve.
        variant_fallbacks: assignments of variants that are not loaded; another one answered.
        state_version: of the admins' state that is offered here.
        state_behind: 1 while the newest state cannot be offered and the one before is.
        keys_stale: 1 while the keys file cannot be used and the keys before it hold.
        features_stale: 1 while the features cannot be used and those before them hold.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._stages = Histogram(
            "radsearch_stage_seconds",
            "Time of each stage of a search.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self._of_stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self.searches = Counter(
            "radsearch_searches",
            "Searches by variant and outcome.",
            ["variant", "outcome"],
            registry=registry,
        )
        self.requests = Counter(
            "radsearch_http_requests", "HTTP requests.", ["route", "method", "status"], registry=registry
        )
        self.batch_size = Histogram(
            "radsearch_batch_size", "Prompts per device batch.", buckets=BATCH_SIZES, registry=registry
        )
        self.queue_depth = Gauge(
            "radsearch_queue_depth",
            "Prompts waiting for the device.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.coalesced = Counter(
            "radsearch_coalesced", "Searches that joined an equal one in flight.", registry=registry
        )
        self.dropped = Counter(
            "radsearch_dropped", "Prompts dropped before decoding.", ["reason"], registry=registry
        )
        self.device_faults = Counter(
            "radsearch_device_faults", "Device batches that failed.", registry=registry
        )
        self.shrunk = Counter(
            "radsearch_shrunk", "Searches with a narrower beam under load.", registry=registry
        )
        self.cache = Counter(
            "radsearch_cache", "Searches by where their result was kept.", ["outcome"], registry=registry
        )
        self.fill = Histogram(
            "radsearch_fill_ratio",
            "Items returned per item asked for.",
            ["variant"],
            buckets=TENTHS,
            registry=registry,
        )
        self.search_seconds = Histogram(
            "radsearch_search_seconds",
            "Time of answered searches by variant.",
            ["variant"],
            buckets=SECONDS,
            registry=registry,
        )
        self._items = Gauge(
            "radsearch_items", "Items on offer.", ["variant"], registry=registry, multiprocess_mode="livemin"
        )
        self._epoch = Gauge(
            "radsearch_epoch",
            "Number made of the epoch's id.",
            ["variant"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.redis_faults = Counter("radsearch_redis_faults", "Failed Redis reads.", registry=registry)
        self.redis_up = Gauge(
            "radsearch_redis_up", "Whether Redis answers.", registry=registry, multiprocess_mode="livemin"
        )
        self.redis_up.set(1)  # until it does not
        self.event_log_faults = Counter(
            "radsearch_event_log_faults", "Events that could not be written.", registry=registry
        )
        self.event_log_bytes = Counter(
            "radsearch_event_log_bytes", "Bytes written to the event log.", registry=registry
        )
        self.event_log_seconds = Histogram(
            "radsearch_event_log_seconds",
            "Time until an event is on the disk, by the oldest of each group.",
            buckets=SECONDS,
            registry=registry,
        )
        self.events = Counter("radsearch_events", "Events of shoppers.", ["type"], registry=registry)
        self.connections_refused = Counter(
            "radsearch_connections_refused",
            "Connections ended before a request or within its answer.",
            ["kind"],
            registry=registry,
        )
        self.rate_limited = Counter(
            "radsearch_rate_limited", "Requests refused by the rate limit.", ["by"], registry=registry
        )
        self.variant_fallbacks = Counter(
            "radsearch_variant_fallbacks",
            "Assignments of variants that are not loaded.",
            registry=registry,
        )
        self.state_version = Gauge(
            "radsearch_state_version",
            "Version of what admins changed that is offered.",
            registry=registry,
            multiprocess_mode="livemin",
        )
        self.state_behind = Gauge(
            "radsearch_state_behind",
            "Whether the newest version cannot be offered.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.keys_stale = Gauge(
            "radsearch_keys_stale",
            "Whether the keys file cannot be used.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.features_stale = Gauge(
            "radsearch_features_stale",
            "Whether the features of the experiments cannot be used.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.processes = Gauge(
            "radsearch_processes", "Processes that serve.", registry=registry, multiprocess_mode="livesum"
        )
        for counter, values in (
            (self.dropped, ("abandoned", "expired")),
            (self.cache, ("memory", "redis", "miss")),
            (self.events, ("click", "cart", "purchase")),
            (self.rate_limited, ("key", "address")),
            (self.connections_refused, REFUSALS),
        ):
            for value in values:  # a series that begins with 1 has no increase that an alert could see
                counter.labels(value)

    def stage(self, name: str) -> Histogram:
        """Histogram of one of ``STAGES``, in seconds."""
        return self._of_stage[name]

    def offer(self, variant: str, epoch: str, n_items: int) -> None:
        """Tell what a variant searches from now on.

        Ids of epochs would make a series each; the number made of one lets replicas be compared.
        """
        self._items.labels(variant).set(n_items)
        self._epoch.labels(variant).set(int.from_bytes(blake2b(epoch.encode(), digest_size=6).digest()))

    def withdraw(self, variant: str) -> None:
        """Tell that a variant is not served any more."""
        self._items.labels(variant).set(0)
        self._epoch.labels(variant).set(0)

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self.registry)
        all_processes = CollectorRegistry()
        MultiProcessCollector(all_processes)  # type: ignore[no-untyped-call]
        return generate_latest(all_processes)
