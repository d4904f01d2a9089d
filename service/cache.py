"""Results of searches that were asked before: in the process, and in Redis for all replicas."""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

from cachetools import TTLCache
from pydantic import BaseModel, ConfigDict, ValidationError

from service.metrics import Metrics
from service.schemas import Item
from service.store import ItemStore


class Result(BaseModel):
    """What a search found, without what belongs to one request.

    Attributes:
        items: best first.
        exhausted: whether a wider beam would find no more.
        degraded: what was away or spared; such a result is not kept.
    """

    model_config = ConfigDict(frozen=True)

    items: tuple[Item, ...]
    exhausted: bool
    degraded: tuple[str, ...] = ()


def key_of(*parts: object) -> str:
    """Name of a result by everything that it depends on."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()


class ResultCache:
    """Keeps results for a while; equal searches at once are worked out once.

    A key names the state of the catalogue, so a result is never older than that; what is kept of an earlier
    state is asked for no more and goes in its time.

    Args:
        entries: results in the process at most; 0 keeps none, neither here nor in Redis.
        ttl_s: how long one is kept, in seconds.
        shared: where replicas find each other's results; None keeps them in the process.
        metrics: told of hits and misses.
    """

    def __init__(self, entries: int, ttl_s: int, shared: ItemStore | None, metrics: Metrics) -> None:
        self._own: TTLCache[str, Result] = TTLCache(max(1, entries), ttl_s)
        self._is_on = entries > 0
        self._ttl_s = ttl_s
        self._shared = shared
        self._metrics = metrics
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get(self, key: str, deadline: float = math.inf) -> Result | None:
        """The result of that key, if it is kept and found in time, by the event loop's clock."""
        if not self._is_on:
            return None
        result, place = self._own.get(key), "memory"
        if result is None and self._shared is not None:
            result, place = _read(await self._shared.recall(key, deadline)), "redis"
            if result is not None:
                self._own[key] = result
        self._metrics.cache.labels("miss" if result is None else place).inc()
        return result

    async def once(self, key: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Work a result out and keep it, unless an equal search has just done so.

        Whoever waits has the own deadline; when the one who works leaves, the next takes over.
        """
        if not self._is_on:
            return await work()
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            known = self._own.get(key)
            if known is not None:
                return known
            result = await work()
            if not result.degraded:
                self._own[key] = result
                if self._shared is not None:
                    self._shared.remember(key, result.model_dump_json().encode(), self._ttl_s)
            return result


def _read(value: bytes | None) -> Result | None:
    """A result from Redis; None where there is none, or another version of the service has written it."""
    if value is None:
        return None
    try:
        return Result.model_validate_json(value)
    except ValidationError:
        return None
