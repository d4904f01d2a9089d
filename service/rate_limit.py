"""How many searches each caller may ask for in a second."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Literal

from cachetools import LRUCache
from fastapi import Request

from service.metrics import Metrics
from service.problems import OverloadedError

MAX_CALLERS = 10_000  # one that is forgotten begins anew with a full bucket
MAX_HOST_CHARS = 64
IPV6_SITE_BITS = 64  # one household or server has that many addresses to choose from


class RateLimitedError(OverloadedError):
    """One caller asks for more than its share."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    kind = "rate-limited"


@dataclass(frozen=True)
class RateCaller:
    """Who is counted: a key by its name, or a network address where no key is asked for."""

    kind: Literal["key", "address"]
    id: str

    @classmethod
    def of(cls, request: Request) -> "RateCaller":
        """The caller of a request whose access has been decided."""
        key: str | None = getattr(request.state, "key", None)
        if key is not None:
            return cls("key", key)
        return cls("address", _site(request.client.host if request.client else ""))


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class RateLimit:
    """A token bucket per caller, in this process alone.

    A caller with a token left may ask, for several searches as well: what they cost beyond is owed, so
    that a batch larger than the bucket is not refused for ever and the rate holds in the long run.
    """

    def __init__(
        self,
        per_s: float | None,
        burst: int,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the limit.

        Args:
            per_s: searches per second; None for any number.
            burst: searches that a caller who was quiet may ask for at once.
            metrics: count what is refused.
            clock: seconds that only grow.
        """
        self._per_s = per_s
        self._burst = burst
        self._metrics = metrics
        self._clock = clock
        self._buckets: LRUCache[RateCaller, _Bucket] = LRUCache(MAX_CALLERS)

    def spend(self, caller: RateCaller, n_searches: int) -> None:
        """Let a caller search, or say when to come back.

        Raises:
            RateLimitedError: if the caller has asked for more than its share.
        """
        if self._per_s is None:
            return
        now = self._clock()
        bucket = self._buckets.get(caller) or _Bucket(self._burst, now)
        self._buckets[caller] = bucket
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._per_s)
        bucket.filled_at = now
        if bucket.tokens < 1:
            self._metrics.rate_limited.labels(caller.kind).inc()
            raise RateLimitedError(
                f"this {caller.kind} may search {self._per_s:g} times a second",
                wait_s=(1 - bucket.tokens) / self._per_s,
            )
        bucket.tokens -= n_searches


@lru_cache(MAX_CALLERS)
def _site(host: str) -> str:
    """The address, of IPv6 the part that a client cannot choose, of what a proxy made up the beginning."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:MAX_HOST_CHARS]
    if address.version == 4:
        return str(address)
    return str(ipaddress.IPv6Network((address, IPV6_SITE_BITS), strict=False))
