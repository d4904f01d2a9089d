"""From SIDs to items: Redis answers, and the bundle's own copy while Redis is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.catalogue import ItemPayload
from service.embedded import EmbeddedValkey
from service.epoch import Epoch
from service.errors import ServiceError
from service.metrics import Metrics
from service.redis_epochs import IncompleteEpochError, RedisEpochs

CONNECTIONS = 64
WRITE_TIMEOUT_S = 5.0
FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
KEEPS_PER_TTL = 4  # how often an epoch's expiry is put off within its time to live
# OSError: redis-py lets some socket errors through as they are.
FAULTS = (RedisError, IncompleteEpochError, OSError)

Rows = NDArray[np.int32]
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found(Generic[Answer]):
    """What was looked up, and whether Redis gave it."""

    value: Answer
    from_redis: bool


class ItemStore:
    """Looks up postings and payloads; a lookup never fails.

    The circuit is closed while ``_repair`` is None. A fault opens it: the bundle's copy answers at once,
    and a task tries, in growing intervals, to bring Redis back with every epoch complete.
    """

    def __init__(self, redis: RedisEpochs, server: EmbeddedValkey | None, metrics: Metrics) -> None:
        self._redis = redis
        self._server = server
        self._metrics = metrics
        self._epochs: Collection[Epoch] = ()
        self._repair: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @classmethod
    def connect(
        cls, url: str | None, namespace: str, timeout_ms: int, ttl_s: int, metrics: Metrics
    ) -> "ItemStore":
        """Prepare connections; none is made before :meth:`start`.

        Args:
            url: of the Redis server; None brings an embedded Valkey.
            namespace: first part of every key.
            timeout_ms: for connecting, and for each reply to a search.
            ttl_s: how long an epoch outlives its last service.
            metrics: told of faults.

        Raises:
            ServiceError: if the URL cannot be read.
        """
        server = EmbeddedValkey() if url is None else None
        address = server.url if server is not None else str(url)
        try:
            reader, writer = _client(address, timeout_ms / 1000), _client(address, WRITE_TIMEOUT_S)
        except ValueError as error:
            raise ServiceError(
                f"REDIS_URL cannot be read ({error}); give one like redis://HOST:6379/0"
            ) from error
        return cls(RedisEpochs(reader, writer, namespace, ttl_s), server, metrics)

    async def start(self, epochs: Collection[Epoch]) -> None:
        """Bring Redis to where every epoch is complete.

        Raises:
            ServiceError: if the server is not reachable.
        """
        self._epochs = epochs
        try:
            await self._restore()
        except FAULTS as error:
            raise ServiceError(
                f"no Redis at REDIS_URL ({error}); start it, or unset REDIS_URL to use the embedded Valkey"
            ) from error
        self._metrics.redis_up.set(1)
        self._keeper = asyncio.create_task(self._keep(self._redis.ttl_s / KEEPS_PER_TTL))

    async def close(self) -> None:
        """Stop background work, close connections, stop the embedded server."""
        tasks = [task for task in (self._repair, self._keeper) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def postings(self, epoch: Epoch, leaves: Rows, sids: Rows) -> Found[list[Rows]]:
        """Item rows of each found SID.

        Args:
            epoch: of the search.
            leaves: int32 [n].
            sids: int32 [n, L], of the same leaves.
        """
        return await self._ask(
            lambda: self._redis.postings(epoch, leaves, sids),
            lambda: [epoch.table.posting(leaf) for leaf in leaves.tolist()],
        )

    async def items(self, epoch: Epoch, rows: Rows) -> Found[list[ItemPayload]]:
        """Payload of each item row, int32 [n]."""
        return await self._ask(lambda: self._redis.items(epoch, rows), lambda: epoch.catalogue.items(rows))

    async def _ask(
        self, redis: Callable[[], Awaitable[Answer]], own_copy: Callable[[], Answer]
    ) -> Found[Answer]:
        if self._repair is None:
            try:
                return Found(await redis(), from_redis=True)
            except FAULTS as error:
                self._open(error)
        return Found(own_copy(), from_redis=False)

    def _open(self, error: Exception) -> None:
        """Ask Redis no more until it is repaired."""
        self._metrics.redis_faults.inc()
        self._metrics.redis_up.set(0)
        if self._repair is None:  # else another search met the fault first
            logger.warning("redis is away, the bundle's copy answers", extra={"error": str(error)})
            self._repair = asyncio.create_task(self._close_circuit(), context=Context())  # of no request

    async def _close_circuit(self) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._restore()
            except (*FAULTS, ServiceError) as error:
                logger.info("redis is still away", extra={"error": str(error)})
                delay_s = min(2 * delay_s, LAST_RETRY_S)
            else:
                break
        logger.info("redis is back")
        self._metrics.redis_up.set(1)
        self._repair = None

    async def _restore(self) -> None:
        """Have a running server with every epoch complete in it."""
        if self._server is not None:
            await asyncio.to_thread(self._server.ensure_running)
        for epoch in self._epochs:
            if not await self._redis.is_complete(epoch):
                await self._redis.write(epoch)

    async def _keep(self, every_s: float) -> None:
        """Put off the epochs' expiry for as long as they are served."""
        while True:
            await asyncio.sleep(every_s)
            if self._repair is None:
                try:
                    for epoch in self._epochs:
                        await self._redis.keep(epoch)
                except FAULTS as error:
                    self._open(error)


def _client(url: str, timeout_s: float) -> Redis:
    """A client whose connections and replies may take ``timeout_s``."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # the bundle's copy answers sooner than a second attempt
    )
    return Redis.from_pool(pool)
