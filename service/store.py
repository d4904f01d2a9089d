"""From SIDs to items: Redis answers, and the process's own copy where that has not the epoch or is away."""

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
SETTLE_S = 2.0  # a new epoch is written after this time, unless the next one has come
GRACE_S = 3600  # how long an epoch outlives the last service that says it is superseded
# OSError: redis-py lets some socket errors through as they are.
FAULTS = (RedisError, IncompleteEpochError, OSError)

Rows = NDArray[np.int32]
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found(Generic[Answer]):
    """What was looked up, and whether it came from the process's own copy because Redis is away."""

    value: Answer
    is_degraded: bool


class ItemStore:
    """Looks up postings and payloads; a lookup never fails.

    The circuit is closed while ``_repair`` is None. A fault opens it: the process's own copy answers at once,
    and a task tries, in growing intervals, to bring Redis back with every epoch complete. The own copy also
    answers for an epoch that is new, until a task has written it to Redis.
    """

    def __init__(self, redis: RedisEpochs, server: EmbeddedValkey | None, metrics: Metrics) -> None:
        self._redis = redis
        self._server = server
        self._metrics = metrics
        self._served: dict[str, Epoch] = {}
        self._complete: set[str] = set()  # ids of epochs that are whole in Redis
        self._superseded: dict[str, list[str]] = {}  # keys by id of epochs that may go
        self._repair: asyncio.Task[None] | None = None
        self._filler: asyncio.Task[None] | None = None
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
        self._served = {epoch.id: epoch for epoch in epochs}
        try:
            await self._restore()
        except FAULTS as error:
            raise ServiceError(
                f"no Redis at REDIS_URL ({error}); start it, or unset REDIS_URL to use the embedded Valkey"
            ) from error
        self._metrics.redis_up.set(1)
        self._keeper = asyncio.create_task(self._keep(min(self._redis.ttl_s, GRACE_S) / KEEPS_PER_TTL))

    def serve(self, epochs: Collection[Epoch]) -> None:
        """Say which epochs are served from now on; new ones are written to Redis soon, in the background."""
        before, self._served = self._served, {epoch.id: epoch for epoch in epochs}
        if before.keys() == self._served.keys():
            return
        self._complete &= self._served.keys()
        # Keys, not epochs: their memory shall go with the last search.
        gone = {name: self._redis.keys(epoch) for name, epoch in before.items()} | self._superseded
        self._superseded = {name: keys for name, keys in gone.items() if name not in self._served}
        if self._repair is None:  # else it looks after the new ones, too
            self._fill_soon()

    async def close(self) -> None:
        """Stop background work, close connections, stop the embedded server."""
        tasks = [task for task in (self._repair, self._keeper, self._filler) if task is not None]
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
            epoch,
            lambda: self._redis.postings(epoch, leaves, sids),
            lambda: [epoch.table.posting(leaf) for leaf in leaves.tolist()],
        )

    async def items(self, epoch: Epoch, rows: Rows) -> Found[list[ItemPayload]]:
        """Payload of each item row, int32 [n]."""
        return await self._ask(
            epoch, lambda: self._redis.items(epoch, rows), lambda: epoch.catalogue.items(rows)
        )

    async def _ask(
        self, epoch: Epoch, redis: Callable[[], Awaitable[Answer]], own_copy: Callable[[], Answer]
    ) -> Found[Answer]:
        if epoch.id in self._complete:
            try:
                return Found(await redis(), is_degraded=False)
            except FAULTS as error:
                self._open(error)
        return Found(own_copy(), is_degraded=self._repair is not None)

    def _open(self, error: Exception) -> None:
        """Ask Redis no more until it is repaired."""
        self._metrics.redis_faults.inc()
        self._metrics.redis_up.set(0)
        self._complete.clear()
        if self._repair is None:  # else another search met the fault first
            logger.warning("redis is away, the own copy answers", extra={"error": str(error)})
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
        self._fill_soon()

    def _fill_soon(self) -> None:
        """Write what Redis lacks, from the start: what is written now may be served no more."""
        if self._filler is not None:
            self._filler.cancel()
        self._filler = asyncio.create_task(self._fill(), context=Context())  # of no request

    async def _fill(self) -> None:
        await asyncio.sleep(SETTLE_S)
        try:
            await self._restore()
            for name, keys in list(self._superseded.items()):
                await self._redis.expire(keys, min(self._redis.ttl_s, GRACE_S))
                self._superseded.pop(name, None)
        except FAULTS as error:
            self._open(error)

    async def _restore(self) -> None:
        """Have a running server with every epoch complete in it."""
        if self._server is not None:
            await asyncio.to_thread(self._server.ensure_running)
        while missing := self._served.keys() - self._complete:
            epoch = self._served[min(missing)]
            if await self._redis.is_complete(epoch):
                await self._redis.expire(self._redis.keys(epoch), self._redis.ttl_s)
            else:
                await self._redis.write(epoch)
            if epoch.id in self._served:
                self._complete.add(epoch.id)

    async def _keep(self, every_s: float) -> None:
        """Put off the epochs' expiry for as long as they are served."""
        while True:
            await asyncio.sleep(every_s)
            if self._repair is None:
                try:
                    for epoch in list(self._served.values()):
                        await self._redis.expire(self._redis.keys(epoch), self._redis.ttl_s)
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
        retry=Retry(NoBackoff(), 0),  # the own copy answers sooner than a second attempt
    )
    return Redis.from_pool(pool)
