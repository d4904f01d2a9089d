"""What a load test measured, in figures."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, computed_field

from loadtest.answers import Operation
from loadtest.recorder import Recorder, Requests
from loadtest.slo import Judgement, Slo, goodput, judge, percentile

N_QUANTILES = 101
MAX_WINDOWS = 60
LATE_MS = 10.0
"""A generator whose p99 of lateness is above is not on time."""
BUSY = 0.9
"""A generator that uses more of its core has no time to spare."""


class Model(BaseModel):
    """Base of what is written as JSON."""

    model_config = ConfigDict(frozen=True)


class Measurement(Model):
    """The requests of one operation. Latencies are of the answered ones, in ms; None where there are none."""

    operation: Operation
    requests: int
    errors: int
    rate: float
    """Answered requests per second."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    quantiles_ms: list[float]
    """0%, 1%, … 100%; empty where none was answered."""


class Window(Model):
    """What was due in one piece of the time."""

    start_s: float
    seconds: float
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


class Generator(Model):
    """How the load generator itself was."""

    cpu_share: float
    """CPU time it used, in cores; it cannot use more than one."""
    lateness_p50_ms: float
    """How long after its time a request was sent; in the closed loop none is due."""
    lateness_p99_ms: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def limited(self) -> bool:
        """Whether it was late or short of CPU time, so that latencies include its own waiting."""
        return self.cpu_share > BUSY or self.lateness_p99_ms > LATE_MS


class Report(Model):
    """One load test."""

    url: str
    loop: Literal["closed", "open"]
    load: str
    """Users, or arrivals per second, and their shape."""
    seconds: float
    operations: list[Measurement]
    error_share: float | None
    degraded_share: float | None
    """Of the answered searches."""
    goodput: float
    """Searches per second that were answered in time."""
    errors: dict[str, int]
    """Kind of error to how often it came, over all operations."""
    variants: dict[str, int]
    """Searches answered by each variant."""
    degraded: dict[str, int]
    """Searches answered although something was away, by what it was."""
    timeline: list[Window]
    generator: Generator
    judgements: list[Judgement]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def met(self) -> bool:
        """Whether every limit of the SLO is kept."""
        return all(judgement.met for judgement in self.judgements)

    def of(self, operation: Operation) -> Measurement | None:
        """The line of an operation; None where none was sent."""
        return next((line for line in self.operations if line.operation == operation), None)


def summarise(
    recorder: Recorder,
    slo: Slo,
    *,
    url: str,
    loop: Literal["closed", "open"],
    load: str,
    seconds: float,
    cpu_share: float,
) -> Report:
    """Sum up a test that ran for some seconds.

    Args:
        recorder: of all its requests.
        slo: to judge them by.
        url: of the server.
        loop: how requests came about.
        load: how many of them, in words.
        seconds: from the first request to the end of the load.
        cpu_share: CPU time of the generator per second.
    """
    requests = recorder.requests()
    searches = requests.searches.answered
    return Report(
        url=url,
        loop=loop,
        load=load,
        seconds=seconds,
        operations=[
            _measurement(operation, requests.of(operation), seconds)
            for operation in Operation
            if len(requests.of(operation))
        ],
        error_share=float(requests.failed.mean()) if len(requests) else None,
        degraded_share=float(searches.degraded.mean()) if len(searches) else None,
        goodput=goodput(slo, requests, seconds),
        errors=_most_frequent_first(recorder.errors),
        variants=_most_frequent_first(recorder.variants),
        degraded=_most_frequent_first(recorder.degraded),
        timeline=_timeline(requests, seconds),
        generator=Generator(
            cpu_share=cpu_share,
            lateness_p50_ms=percentile(requests.lateness_ms, 0.50) or 0.0,
            lateness_p99_ms=percentile(requests.lateness_ms, 0.99) or 0.0,
        ),
        judgements=judge(slo, requests, seconds),
    )


def _measurement(operation: Operation, requests: Requests, seconds: float) -> Measurement:
    latencies = requests.answered.latency_ms
    shares = np.linspace(0.0, 1.0, N_QUANTILES)
    quantiles = np.quantile(latencies, shares, method="inverted_cdf") if len(latencies) else np.empty(0)
    return Measurement(
        operation=operation,
        requests=len(requests),
        errors=int(requests.failed.sum()),
        rate=len(latencies) / seconds,
        p50_ms=percentile(latencies, 0.50),
        p95_ms=percentile(latencies, 0.95),
        p99_ms=percentile(latencies, 0.99),
        max_ms=percentile(latencies, 1.0),
        quantiles_ms=quantiles.tolist(),
    )


def _timeline(requests: Requests, seconds: float) -> list[Window]:
    """Pieces of whole seconds, sixty at most, by when requests were due."""
    width = math.ceil(seconds / MAX_WINDOWS)
    windows = []
    for start in range(0, math.ceil(seconds), width):
        due = requests.where((requests.due_s >= start) & (requests.due_s < start + width))
        latencies = due.searches.answered.latency_ms
        windows.append(
            Window(
                start_s=start,
                seconds=min(width, seconds - start),
                requests=len(due),
                errors=int(due.failed.sum()),
                p50_ms=percentile(latencies, 0.50),
                p99_ms=percentile(latencies, 0.99),
            )
        )
    return windows


def _most_frequent_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))
