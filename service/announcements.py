"""The desired state in Redis: who has changed it announces that, and replicas read it.

``{ns}:admin:v1`` is a hash of ``document``, the newest state as JSON, and ``stamp``, which tells it from all
others. One script compares the stamp with that of the state that a change began with, writes the next, and
publishes its stamp on the channel of the same name. An announcement that is lost does no harm: replicas look
at the stamp every few seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.exceptions import RedisClusterException, RedisError

from service import redis_clients
from service.desired import DesiredState
from service.redis_clients import RedisClient

REPLACE = """
if (redis.call('HGET', KEYS[1], 'stamp') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'stamp', ARGV[2], 'document', ARGV[3])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 1
"""


class RedisAwayError(Exception):
    """Redis does not do what it is asked, for now."""


class UnreadableStateError(Exception):
    """What lies in Redis is no state that this release can read."""


class Announcements:
    """Reads and replaces the desired state of one namespace.

    Every method may raise RedisAwayError.
    """

    def __init__(self, client: RedisClient, namespace: str) -> None:
        """Take over a client that nobody else uses."""
        self._client = client
        self._key = f"{namespace}:admin:v1"

    async def stamp(self) -> str:
        """Stamp of the state in Redis; empty where there is none."""
        with _asking():
            return _bytes(await self._client.hget(self._key, "stamp")).decode()

    async def read(self) -> tuple[str, DesiredState]:
        """The state in Redis, after its stamp; the empty state where there is none.

        Raises:
            UnreadableStateError: if it cannot be read.
        """
        with _asking():
            stamp, document = await self._client.hmget(self._key, ["stamp", "document"])
        if stamp is None and document is None:
            return "", DesiredState()
        try:
            return _bytes(stamp).decode(), await asyncio.to_thread(DesiredState.parse, _bytes(document))
        except ValueError as error:
            raise UnreadableStateError(
                f"the state at '{self._key}' in Redis is damaged or of another release; "
                "delete the key, and the replicas write what they know"
            ) from error

    async def replace(self, stamp: str, state: DesiredState) -> bool:
        """Put another state in place of that with a stamp, and announce it.

        Returns:
            Whether that was still the state; else nothing has changed.
        """
        with _asking():
            arguments = (stamp, state.stamp, state.document)
            return bool(await self._client.eval(REPLACE, 1, self._key, *arguments))

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """Hear of changes: yields what waits for the next, and no longer than some seconds."""
        async with self._client.pubsub() as pubsub:

            async def announced(at_most_s: float) -> None:
                with _asking():
                    await pubsub.get_message(ignore_subscribe_messages=True, timeout=at_most_s)

            with _asking():
                await self._client.initialize()  # else a cluster's subscription knows no node
                await pubsub.subscribe(self._key)
            yield announced

    async def start_afresh(self) -> None:
        """Let go of connections that an outage has broken."""
        with _asking():
            await redis_clients.start_afresh(self._client)

    async def close(self) -> None:
        """Close the connections."""
        await redis_clients.close(self._client)


def _bytes(value: bytes | str | None) -> bytes:
    """What a field holds, empty where it is not there; a client that decodes would give text."""
    return value.encode() if isinstance(value, str) else value or b""


@contextmanager
def _asking() -> Iterator[None]:
    """Let whatever Redis and the way to it may fail with be one error."""
    try:
        yield
    # redis-py lets some errors through as they are: OSError of sockets, and KeyError where no node of a
    # cluster has the slot.
    except (RedisError, RedisClusterException, OSError, KeyError) as error:
        raise RedisAwayError(f"{type(error).__name__}: {error}") from error
