import asyncio

import pytest
from fastapi import Request

from service.connection import ClientGoneError, while_connected

pytestmark = pytest.mark.anyio


class Client:
    """A client that can leave, and the request that it sent."""

    def __init__(self) -> None:
        self._leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.request = Request({"type": "http", "state": {"leaving": self._leaving}})

    def leave(self) -> None:
        self._leaving.set_result(None)


async def work(done: asyncio.Event) -> str:
    await done.wait()
    return "answer"


async def test_a_client_that_stays_gets_the_answer() -> None:
    done = asyncio.Event()
    answer = asyncio.create_task(while_connected(Client().request, work(done)))
    await asyncio.sleep(0)
    done.set()
    assert await answer == "answer"


async def test_work_ends_when_its_client_leaves() -> None:
    client, ended = Client(), asyncio.Event()

    async def long_work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    answer = asyncio.create_task(while_connected(client.request, long_work()))
    await asyncio.sleep(0)
    client.leave()
    with pytest.raises(ClientGoneError):
        await answer
    assert ended.is_set()


async def test_work_for_a_client_that_has_left_ends_at_once() -> None:
    client = Client()
    client.leave()
    with pytest.raises(ClientGoneError):
        await while_connected(client.request, work(asyncio.Event()))


async def test_who_leaves_as_the_work_ends_cancels_nothing_that_comes_after() -> None:
    client, done = Client(), asyncio.Event()

    async def endpoint() -> str:
        answer = await while_connected(client.request, work(done))
        await asyncio.sleep(0.01)  # the answer is sent
        return answer

    answer = asyncio.create_task(endpoint())
    await asyncio.sleep(0)
    done.set()
    client.leave()
    assert await answer == "answer"


async def test_to_be_cancelled_by_others_is_not_to_be_left() -> None:
    answer = asyncio.create_task(while_connected(Client().request, work(asyncio.Event())))
    await asyncio.sleep(0)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_where_no_connection_tells_work_goes_on_to_its_end() -> None:
    done = asyncio.Event()
    done.set()
    assert await while_connected(Request({"type": "http"}), work(done)) == "answer"
