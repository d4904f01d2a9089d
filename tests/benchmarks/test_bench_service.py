"""``radsearch bench service`` in a size of seconds, and its load generator against a server of few words."""

import asyncio
import itertools
import json
from typing import Any

import pytest

from benchmarks.live_shop import Size
from benchmarks.serving import command
from benchmarks.serving.command import ServiceBench
from benchmarks.serving.http_load import Client, LoneClient
from tests.benchmarks.runner import bench

TINY = ServiceBench(
    size=Size(d_model=32, n_layers=1, beam_widths=(8,)),
    small=Size(d_model=64, n_layers=1, beam_widths=(4,)),
    n_items=300,
    warm_up_s=0.3,
    rounds=1,
    searches=5,
    paused_searches=3,
    pause_s=0.001,
    turn_s=0.3,
    clients=4,
    overload_s=0.5,
    small_overload_s=0.5,
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nRetry-After: 1\r\n\r\n"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("results") / "service.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        run = bench("service", "--quick", "--json", "--out", str(out))
    assert run.exit_code == 0, run.output
    printed: dict[str, Any] = json.loads(run.stdout)
    assert printed == json.loads(out.read_text())
    return printed


def test_the_command_measures_engine_and_service(result: dict[str, Any]) -> None:
    small = result["small"]
    assert [(model["model"], model["beam_width"]) for model in (result, small)] == [("32x1", 8), ("64x1", 4)]
    for model in (result, small):
        alone, full, over = model["alone"], model["saturation"], model["overload"]
        for lone in (alone, alone["after_pause"]):
            assert lone["overhead_p50_ms"] == lone["service_p50_ms"] - lone["engine_p50_ms"]
            assert lone["empty_overhead_p50_ms"] == lone["empty_p50_ms"] - lone["engine_p50_ms"]
            assert lone["empty_p50_ms"] > 0
        assert alone["after_pause"]["pause_ms"] == 1
        assert alone["stages_p50_ms"].keys() == {"tokenize", "queue", "decode", "items", "total"}
        assert full["engine_rate"] == max(full["engine_rate_by_batch_size"].values())
        assert full["saturation_share"] == full["service_rate"] / full["engine_rate"]
        assert over["capacity"] == full["service_rate"]
        assert over["overload_goodput_share"] == pytest.approx(over["rate"] / over["capacity_around"])
        assert over["failed"] == 0
        assert over["accepted"] > 0
    assert result["overhead_p50_ms"] == result["alone"]["overhead_p50_ms"]
    assert result["saturation_share"] == result["saturation"]["saturation_share"]
    assert result["overload_goodput_share"] == result["overload"]["overload_goodput_share"]


def test_the_command_prints_it(result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: dict(result))
    run = bench("service")
    assert "32x1, one at a time, p50 ms" in run.output
    assert "64x1, one at a time, p50 ms" in run.output
    assert "64x1, one after 1 ms of rest, p50 ms" in run.output
    assert "64x1, twice the capacity" in run.output


def requests() -> Any:
    return itertools.repeat(b"GET / HTTP/1.1\r\n\r\n")


async def served(replies: list[bytes], load: Any) -> Any:
    """What a load makes of a server that gives some replies in turn, in two pieces each."""
    turn = itertools.cycle(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readline()  # the blank line after the only one
            reply = next(turn)
            writer.write(reply[:20])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(reply[20:])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client(server.sockets[0].getsockname()[1])
        result = await load(client)
        await client.close()
    return result


def test_clients_of_a_closed_loop_wait_for_their_answers() -> None:
    load = asyncio.run(served([ANSWER, REFUSAL], lambda client: client.closed_loop(requests(), 3, 0.1)))
    assert load.count(200) + load.count(429) == len(load.replies) > 10
    assert {reply.body for reply in load.replies} == {b"hello", b""}
    assert load.rate == load.count(200) / load.seconds


def test_a_lone_client_waits_for_all_of_an_answer() -> None:
    async def one_after_the_other(client: Client) -> list[Any]:
        def send() -> list[Any]:
            lone = LoneClient(client._port)
            replies = [lone.send(b"GET / HTTP/1.1\r\n\r\n") for _ in range(4)]
            lone.close()
            return replies

        return await asyncio.to_thread(send)

    replies = asyncio.run(served([ANSWER, REFUSAL], one_after_the_other))
    assert [(reply.status, reply.body) for reply in replies] == 2 * [(200, b"hello"), (429, b"")]
    assert all(reply.seconds > 0.001 for reply in replies)


def test_an_open_loop_sends_when_it_is_time() -> None:
    load = asyncio.run(served([ANSWER], lambda client: client.open_loop(requests(), 200, 0.5, 0)))
    assert load.count(200) == len(load.replies) == 100
    assert (load.latencies() > 0.001).all()


def test_a_connection_that_breaks_is_an_answer_of_status_0() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def broken() -> int:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            client = Client(server.sockets[0].getsockname()[1])
            return (await client.send(b"GET / HTTP/1.1\r\n\r\n", 0.0)).status

    assert asyncio.run(broken()) == 0
