"""From SIDs to items: Redis answers, and the process's own copy where that has not the epoch or is away."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
)

from service import redis_clients
from service.catalogue import ItemPayload
from service.embedded import EmbeddedValkey
from service.epoch import Epoch
from service.errors import ServiceError
from service.metrics import Metrics
from service.redis_epochs import DamagedEpochError, RedisEpochs

WRITE_TIMEOUT_S = 5.0
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 2.0  # while Redis is away: to ask costs nothing, and it is used soon after it is back
LAST_WRITE_RETRY_S = 30.0  # while it is full or evicts: to write an epoch in vain costs much
KEEPS_PER_TTL = 4  # how often an epoch's expiry is put off within its time to live
WATCH_S = 1.0  # between two looks at Redis
MOST_REMEMBERING = 64  # values on their way to Redis; more are not worth the memory
SETTLE_S = 2.0  # a new epoch is written after this time, unless the next one has come
GRACE_S = 3600  # how long an epoch outlives the last service that says it is superseded
# OSError: redis-py lets some socket errors through as they are; TimeoutError is one.
FAULTS = (RedisError, RedisClusterException, DamagedEpochError, OSError)
NO_ROOM = (OutOfMemoryError, DamagedEpochError)  # of writing

Rows = NDArray[np.int32]
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found(Generic[Answer]):
    """What was looked up, and whether it came from the process's own copy because Redis is away."""

    value: Answer
    is_degraded: bool


class _NoTimeError(Exception):
    """Redis was not given its whole time."""


class ItemStore:
    """Looks up postings and payloads; a lookup never fails.

    The circuit is closed while ``_repair`` is None. A fault opens it: the process's own copy answers at once,
    and a task tries, in growing intervals, to bring Redis back with every epoch complete. The own copy also
    answers for an epoch that is new, until a task has written it to Redis.

    Attributes:
        address: URL of the server, also of an embedded one.
    """

    def __init__(
        self,
        redis: RedisEpochs,
        address: str,
        timeout_s: float,
        server: EmbeddedValkey | None,
        metrics: Metrics,
    ) -> None:
        self.address = address
        self._redis = redis
        self._timeout_s = timeout_s
        self._server = server
        self._metrics = metrics
        self._served: dict[str, Epoch] = {}
        self._complete: set[str] = set()  # ids of epochs that are whole in Redis
        self._damaged: set[str] = set()  # ids of epochs of which a read found less or other than was written
        self._superseded: dict[str, list[str]] = {}  # keys by id of epochs that may go
        self._repair: asyncio.Task[None] | None = None
        self._filler: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._remembering: set[asyncio.Task[None]] = set()
        self._share_from = 0.0  # when to remember and recall again, by the event loop's clock

    @classmethod
    def connect(
        cls, url: str | None, namespace: str, timeout_ms: int, ttl_s: int, metrics: Metrics
    ) -> "ItemStore":
        """Prepare connections; none is made before :meth:`start`.

        Args:
            url: of the Redis server or cluster, see :func:`redis_clients.connect`; None brings an embedded
                Valkey.
            namespace: first part of every key.
            timeout_ms: for connecting, and for each lookup.
            ttl_s: how long an epoch outlives its last service.
            metrics: told of faults.

        Raises:
            ServiceError: if the URL cannot be read.
        """
        server = EmbeddedValkey() if url is None else None
        address = server.url if server is not None else str(url)
        try:
            reader = redis_clients.connect(address, timeout_ms / 1000)
            writer = redis_clients.connect(address, WRITE_TIMEOUT_S)
        except (ValueError, RedisClusterException) as error:
            raise ServiceError(
                f"REDIS_URL cannot be read ({error}); give one like redis://HOST:6379/0 or, of a cluster, "
                "redis+cluster://HOST:6379"
            ) from error
        epochs = RedisEpochs(reader, writer, namespace, ttl_s)
        return cls(epochs, address, timeout_ms / 1000, server, metrics)

    async def start(self, epochs: Collection[Epoch]) -> None:
        """Bring Redis to where every epoch is complete; where it is away, the own copy answers until then.

        Raises:
            ServiceError: if REDIS_URL can never work, or the embedded server does not start.
        """
        self._served = {epoch.id: epoch for epoch in epochs}
        self._metrics.redis_up.set(1)
        try:
            await self._restore()
        except AuthenticationError as error:
            raise ServiceError(f"Redis refuses the user or password in REDIS_URL ({error})") from error
        except MovedError as error:
            raise ServiceError(
                "REDIS_URL names one node of a cluster; write redis+cluster:// instead of redis://"
            ) from error
        except FAULTS as error:
            self._open(error)
        self._keeper = asyncio.create_task(self._keep(min(self._redis.ttl_s, GRACE_S) / KEEPS_PER_TTL))
        self._watcher = asyncio.create_task(self._watch())

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
        background = (self._repair, self._keeper, self._filler, self._watcher, *self._remembering)
        tasks = [task for task in background if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._redis.close()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def postings(
        self, epoch: Epoch, leaves: Rows, sids: Rows, deadline: float = math.inf
    ) -> Found[list[Rows]]:
        """Item rows of each found SID.

        Args:
            epoch: of the search.
            leaves: int32 [n].
            sids: int32 [n, L], of the same leaves.
            deadline: of the search, by the event loop's clock. Redis gets half of what is left at most, so
                that the own copy can still answer.
        """
        return await self._ask(
            epoch,
            deadline,
            lambda: self._redis.postings(epoch, leaves, sids),
            lambda: [epoch.table.posting(leaf) for leaf in leaves.tolist()],
        )

    async def items(self, epoch: Epoch, rows: Rows, deadline: float = math.inf) -> Found[list[ItemPayload]]:
        """Payload of each item row, int32 [n]; for the deadline see :meth:`postings`."""
        return await self._ask(
            epoch, deadline, lambda: self._redis.items(epoch, rows), lambda: epoch.catalogue.items(rows)
        )

    @property
    def is_away(self) -> bool:
        """Whether Redis is away, so that the own copy answers."""
        return self._repair is not None

    async def recall(self, name: str, deadline: float = math.inf) -> bytes | None:
        """A value that some replica remembered; None where there is none, or Redis is away or late."""
        if not self._is_sharing():
            return None
        try:
            return await self._in_time(self._redis.recall(name), deadline)
        except _NoTimeError:
            return None
        except FAULTS as error:
            self._pause_sharing(error)
            return None

    def remember(self, name: str, value: bytes, ttl_s: int) -> None:
        """Keep a value for all replicas, soon and for ``ttl_s`` seconds, unless Redis is away."""
        if self._is_sharing() and len(self._remembering) < MOST_REMEMBERING:
            task = asyncio.create_task(self._remember(name, value, ttl_s), context=Context())
            self._remembering.add(task)
            task.add_done_callback(self._remembering.discard)

    async def _remember(self, name: str, value: bytes, ttl_s: int) -> None:
        try:
            await self._redis.remember(name, value, ttl_s)
        except FAULTS as error:
            self._pause_sharing(error)

    def _is_sharing(self) -> bool:
        return not self.is_away and asyncio.get_running_loop().time() >= self._share_from

    def _pause_sharing(self, error: Exception) -> None:
        """Leave alone for a while what replicas remember for each other.

        The circuit stays closed: a full server still tells what it holds, and in a cluster the node that is
        away may have none of the epochs.
        """
        logger.info("results are not shared for now", extra={"error": f"{type(error).__name__}: {error}"})
        self._metrics.redis_faults.inc()
        self._share_from = asyncio.get_running_loop().time() + LAST_RETRY_S

    async def _watch(self) -> None:
        """Notice that Redis has gone, or lost something, before a search has to."""
        while True:
            await asyncio.sleep(WATCH_S)
            for epoch in [epoch for name, epoch in self._served.items() if name in self._complete]:
                try:
                    async with asyncio.timeout(self._timeout_s):
                        await self._redis.check(epoch)
                except FAULTS as error:
                    self._open(error)
                    break

    async def _ask(
        self,
        epoch: Epoch,
        deadline: float,
        redis: Callable[[], Awaitable[Answer]],
        own_copy: Callable[[], Answer],
    ) -> Found[Answer]:
        if epoch.id in self._complete:
            try:
                return Found(await self._in_time(redis(), deadline), is_degraded=False)
            except _NoTimeError:
                return Found(own_copy(), is_degraded=True)
            except DamagedEpochError as error:
                self._damaged.add(epoch.id)
                self._open(error)
            except FAULTS as error:
                self._open(error)
        return Found(own_copy(), self.is_away)

    async def _in_time(self, answer: Awaitable[Answer], deadline: float) -> Answer:
        """What Redis answers.

        Raises:
            TimeoutError: if it takes too long.
            _NoTimeError: if it takes longer than the search has time for, which says nothing about Redis.
        """
        now = asyncio.get_running_loop().time()
        share_s = max(0.0, (deadline - now) / 2)
        try:
            async with asyncio.timeout(min(self._timeout_s, share_s)):
                return await answer
        except TimeoutError as error:
            if share_s < self._timeout_s:
                raise _NoTimeError from error
            raise

    def _open(self, error: Exception) -> None:
        """Ask Redis no more until it is repaired."""
        self._metrics.redis_faults.inc()
        self._metrics.redis_up.set(0)
        self._complete.clear()
        if self._repair is None:  # else another search met the fault first
            logger.warning(
                "redis is away, the own copy answers", extra={"error": f"{type(error).__name__}: {error}"}
            )
            self._repair = asyncio.create_task(self._close_circuit(), context=Context())  # of no request

    async def _close_circuit(self) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._redis.start_afresh()
                await self._restore()
            except (*FAULTS, ServiceError) as error:
                logger.info("redis is still away", extra={"error": f"{type(error).__name__}: {error}"})
                longest_s = LAST_WRITE_RETRY_S if isinstance(error, NO_ROOM) else LAST_RETRY_S
                delay_s = min(2 * delay_s, longest_s)
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
            if epoch.id in self._damaged or not await self._redis.is_whole(epoch):
                await self._redis.write(epoch)
                await self._redis.check(epoch)
                self._damaged.discard(epoch.id)
            else:
                await self._redis.expire(self._redis.keys(epoch), self._redis.ttl_s)
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
