"""Results that are kept, and what the item store told lately."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from redis import Redis

from service.cache import Result, ResultCache, key_of
from service.metrics import Metrics
from service.recent import RecentItems
from service.schemas import Item
from tests.service.redis_server import new_valkey
from tests.service.running import Running

pytestmark = pytest.mark.anyio

OWN = ("request_id", "cached", "timings_ms")  # of one answer


def found(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what belongs to one request."""
    return {name: value for name, value in answer.items() if name not in OWN}


def result(name: str = "i1", degraded: tuple[str, ...] = ()) -> Result:
    item = Item(item_id=name, score=0.1, sid=[1, 2], title="t", attributes={"price": 1.5})
    return Result(items=(item,), exhausted=False, degraded=degraded)


@pytest.fixture(scope="module")
def caching(make_settings: Callable[..., Any]) -> Iterator[Running]:
    with Running(make_settings(result_cache=1_000, item_cache=1_000)) as running:
        yield running


def test_a_stream_of_popular_queries_is_mostly_kept(caching: Running, running: Running) -> None:
    rng = random.Random(0)
    words = ["red", "blue", "green", "shoes", "boots", "hat", "wool", "rain", "running"]
    queries = [" ".join(pair) for pair in itertools.permutations(words, 2)]
    drawn = rng.choices(queries, weights=[1 / rank for rank in range(1, len(queries) + 1)], k=300)
    before = caching.metric("radsearch_cache_total", outcome="memory")
    answers = [(query, caching.search(query, k=7)) for query in drawn]
    hits = caching.metric("radsearch_cache_total", outcome="memory") - before
    assert hits == sum(answer["cached"] for _, answer in answers) >= 0.6 * len(drawn)
    for query in set(drawn):
        expected = running.search(query, k=7, user_id="of-sft", beam_width=64)
        if expected["variant"] == "sft":
            kept = [found(answer) for asked, answer in answers if asked == query]
            assert all(one == found(expected) for one in kept)


def test_what_differs_is_asked_anew(caching: Running) -> None:
    caching.search("green hat")
    assert caching.search("green hat")["cached"]
    weights = ({"ordering": {"tau": 2}}, {"ordering": {"tau": -2}}, {"ordering": {"words": 2}})
    for other in (
        {"k": 3},
        {"filters": {"in_stock": True}},
        {"beam_width": 4},
        *weights,
        {"explain": True},
    ):
        assert not caching.search("green hat", **other)["cached"]


def test_a_change_of_the_catalogue_is_seen_at_once(start_service: Callable[..., Running]) -> None:
    with start_service(result_cache=100, item_cache=100) as running:
        first = running.search()
        assert running.search()["cached"]
        gone = first["items"][0]["item_id"]
        running.change("relisted", [gone])
        second = running.search()
        assert not second["cached"]
        assert gone not in [item["item_id"] for item in second["items"]]
        running.change("relisted", [])
        assert found(running.search()) == found(first)


def test_replicas_find_each_others_results(start_service: Callable[..., Running]) -> None:
    with new_valkey() as server:
        shared = {"redis_url": server.connection_url, "result_cache": 100}
        with start_service(**shared) as one, start_service(**shared) as other:
            first = one.search("wool hat")
            one.wait(asyncio.sleep(0.2))  # it is written in the background
            second = other.search("wool hat")
            assert (first["cached"], second["cached"]) == (False, True)
            assert found(first) == found(second)
            assert other.metric("radsearch_cache_total", outcome="redis") == 1
            other.search("wool hat")
            assert other.metric("radsearch_cache_total", outcome="memory") == 1


def test_a_result_of_another_version_is_no_result(start_service: Callable[..., Running]) -> None:
    with (
        new_valkey() as server,
        start_service(redis_url=server.connection_url, result_cache=100) as running,
    ):
        running.search("rain boots")
        running.wait(asyncio.sleep(0.2))
        with Redis.from_url(server.connection_url) as client:
            names = client.keys("radsearch:results:*")
            assert len(names) == 1
            client.set(names[0], b'{"items": 5}')
        with start_service(redis_url=server.connection_url, result_cache=100) as other:
            assert not other.search("rain boots")["cached"]


async def test_equal_searches_at_once_are_worked_out_once() -> None:
    cache, calls = ResultCache(10, 60, None, Metrics()), 0

    async def work() -> Result:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.01)
        return result()

    results = await asyncio.gather(*(cache.once("key", work) for _ in range(20)))
    assert calls == 1
    assert results == [result()] * 20


async def test_when_the_one_who_works_leaves_the_next_takes_over() -> None:
    cache, began = ResultCache(10, 60, None, Metrics()), asyncio.Event()

    async def never() -> Result:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> Result:
        return result()

    leaves = asyncio.create_task(cache.once("key", never))
    await began.wait()
    stays = asyncio.create_task(cache.once("key", work))
    leaves.cancel()
    assert await stays == result()


async def test_what_is_degraded_is_not_kept() -> None:
    cache = ResultCache(10, 60, None, Metrics())

    async def work() -> Result:
        return result(degraded=("beam",))

    await cache.once("key", work)
    assert await cache.get("key") is None


async def test_results_go_in_their_time_and_the_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResultCache(2, 1, None, Metrics())

    async def work() -> Result:
        return result()

    for key in ("a", "b", "c"):
        await cache.once(key, work)
    assert [await cache.get(key) is not None for key in ("a", "b", "c")] == [False, True, True]
    await asyncio.sleep(1.05)
    assert await cache.get("c") is None


def test_keys_tell_everything_apart() -> None:
    parts = [("a", 1), ("a", "1"), ("a1",), ("a", 1, None), (b"a", 1)]
    assert len({key_of(*each) for each in parts}) == len(parts)
    assert key_of("a", 1) == key_of("a", 1)


def test_the_store_is_asked_once(
    start_service: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_ahead(*_: Any) -> None:
        """Else nothing might be left for a search to ask for."""

    monkeypatch.setattr(RecentItems, "_ask_ahead", nothing_ahead)
    asked: list[np.ndarray] = []
    with start_service(item_cache=1_000) as caching, start_service(item_cache=3) as forgetful:
        store = caching.service.retriever._store._store
        ask = store.postings

        async def postings(epoch: Any, leaves: np.ndarray, *rest: Any) -> Any:
            asked.append(leaves)
            return await ask(epoch, leaves, *rest)

        store.postings = postings  # type: ignore[method-assign]
        answers = [caching.search(query)["items"] for query in ("red", "blue hat", "red", "boots")]
        leaves = np.concatenate(asked)
        assert len(leaves) == len(np.unique(leaves))
        assert answers == [forgetful.search(query)["items"] for query in ("red", "blue hat", "red", "boots")]
