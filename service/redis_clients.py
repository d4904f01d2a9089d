"""Connections to Redis: to one server, or to a cluster."""

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECTIONS = 64  # of one client to one server
CLUSTERS = {"redis+cluster://": "redis://", "rediss+cluster://": "rediss://"}

RedisClient = Redis | RedisCluster


def connect(url: str, timeout_s: float) -> RedisClient:
    """A client that has made no connection yet and tries nothing twice.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://`` of one server; ``redis+cluster://`` or
            ``rediss+cluster://`` of any node of a cluster, which tells of the others.
        timeout_s: for connecting, and for each reply.

    Raises:
        ValueError: if the URL cannot be read.
    """
    patience = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    never = Retry(NoBackoff(), 0)  # the own copy answers sooner than a second attempt
    for scheme, of_one_node in CLUSTERS.items():
        if url.startswith(scheme):
            return RedisCluster.from_url(
                of_one_node + url.removeprefix(scheme),
                max_connections=CONNECTIONS,
                require_full_coverage=False,  # the nodes that are left answer for their slots
                retry=never,
                **patience,
            )
    pool = ConnectionPool.from_url(url, max_connections=CONNECTIONS, retry=never, **patience)
    return Redis.from_pool(pool)


async def start_afresh(client: RedisClient) -> None:
    """Let go of connections, which an outage has broken, and of what is known about a cluster's nodes."""
    if isinstance(client, RedisCluster):
        await close(client)  # it opens again, and asks which node has which slot
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


async def close(client: RedisClient) -> None:
    """Close every connection."""
    await client.aclose()
    if isinstance(client, RedisCluster):
        # A cluster's client that a node has sent elsewhere counts as closed, and aclose() passes over the
        # connections it has made since.
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
