"""What a load test measured."""

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from loadtest.answers import SearchAnswer

SEARCH = "/v1/search"


class Measurement(BaseModel):
    """The requests of one endpoint. Latencies are of the answered ones, in ms; None where there are none."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    requests: int
    errors: int
    rate: float
    """Answered requests per second."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class Report(BaseModel):
    """One load test: a line for each endpoint, and what the answers said of themselves."""

    model_config = ConfigDict(frozen=True)

    url: str
    users: int
    seconds: float
    endpoints: list[Measurement]
    errors: dict[str, int]
    """Kind of error to how often it came, over all endpoints."""
    variants: dict[str, int]
    """Searches answered by each variant."""
    degraded: dict[str, int]
    """Searches answered although something was away, by what it was."""
    generator_busy: bool
    """The load generator had no CPU time to spare: latencies include its own waiting."""

    @property
    def requests(self) -> int:
        """Requests sent, over all endpoints."""
        return sum(line.requests for line in self.endpoints)

    @property
    def error_share(self) -> float | None:
        """Share of all requests that failed, 0..1; None where none was sent."""
        return sum(line.errors for line in self.endpoints) / self.requests if self.requests else None

    @property
    def search(self) -> Measurement | None:
        """The line of ``/v1/search``, which an SLO is about."""
        return next((line for line in self.endpoints if line.endpoint == SEARCH), None)


class Recorder:
    """Listens to locust's ``request`` event and keeps every latency.

    Every latency is kept (8 bytes each) because locust's own percentiles are rounded to two digits.
    """

    def __init__(self) -> None:
        self._latencies: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self._errors: dict[str, Counter[str]] = defaultdict(Counter)
        self._variants: Counter[str] = Counter()
        self._degraded: Counter[str] = Counter()

    def on_request(
        self,
        *,
        name: str,
        response_time: float,
        exception: Exception | None,
        context: dict[str, SearchAnswer],
        **_: object,
    ) -> None:
        """Take one finished request.

        Args:
            name: endpoint.
            response_time: ms until the whole answer was there.
            exception: whose text is the kind of error; None where the answer is good.
            context: holds the decoded ``answer`` of a good request.
        """
        if exception is not None:
            self._errors[name][str(exception)] += 1
            return
        self._latencies[name].append(response_time)
        if name == SEARCH:
            self._variants[context["answer"].variant] += 1
            self._degraded.update(context["answer"].degraded)

    def report(self, url: str, users: int, seconds: float, generator_busy: bool) -> Report:
        """Sum up a test that ran for ``seconds``."""
        endpoints = sorted({*self._latencies, *self._errors})
        return Report(
            url=url,
            users=users,
            seconds=seconds,
            endpoints=[self._measurement(endpoint, seconds) for endpoint in endpoints],
            errors=dict(sum(self._errors.values(), Counter[str]()).most_common()),
            variants=dict(self._variants.most_common()),
            degraded=dict(self._degraded.most_common()),
            generator_busy=generator_busy,
        )

    def _measurement(self, endpoint: str, seconds: float) -> Measurement:
        latencies = sorted(self._latencies[endpoint])
        n_errors = self._errors[endpoint].total()
        return Measurement(
            endpoint=endpoint,
            requests=len(latencies) + n_errors,
            errors=n_errors,
            rate=len(latencies) / seconds,
            p50_ms=quantile(latencies, 0.50),
            p95_ms=quantile(latencies, 0.95),
            p99_ms=quantile(latencies, 0.99),
            max_ms=quantile(latencies, 1.0),
        )


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """Give the least value that a share ``q`` of all values does not exceed (nearest rank).

    Args:
        ordered: values in ascending order.
        q: in (0, 1].

    Returns:
        One of the values, or None where there are none.
    """
    return ordered[math.ceil(q * len(ordered)) - 1] if ordered else None
