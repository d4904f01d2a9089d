import asyncio
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service import events as events_module
from service.errors import ServiceError
from service.events import EventLog
from service.metrics import Metrics
from service.problems import UnavailableError

pytestmark = pytest.mark.anyio


def lines(directory: Path) -> list[dict[str, Any]]:
    """All events, without the half line that a killed process may have left at the end of its file."""
    files = sorted(directory.glob("events-????-??-??-????????.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]


async def test_what_is_appended_is_on_the_disk(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "new" / "log", Metrics())
    await log.append({"type": "click", "item_id": "雨伞"})
    (event,) = lines(tmp_path / "new" / "log")
    assert (event["type"], event["item_id"]) == ("click", "雨伞")
    assert event["time"].endswith("+00:00")
    await log.close()


async def test_everything_recorded_is_there_after_the_end(tmp_path: Path) -> None:
    log = EventLog(tmp_path, Metrics())
    for n in range(1000):
        log.record({"n": n})
        if n % 100 == 0:
            await asyncio.sleep(0)
    await asyncio.gather(*(log.append({"n": n}) for n in range(1000, 1100)))
    log.record({"n": 1100})
    await log.close()
    assert [event["n"] for event in lines(tmp_path)] == list(range(1101))


async def test_an_event_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    metrics = Metrics()
    log = EventLog(tmp_path / "log", metrics)
    await log.append({"n": 0})
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(UnavailableError):
        await log.append({"n": 1})
    assert metrics.registry.get_sample_value("radsearch_event_log_faults_total") == 1
    (tmp_path / "log").mkdir()
    await log.append({"n": 2})
    assert [event["n"] for event in lines(tmp_path / "log")] == [2]
    await log.close()


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Let the kernel refuse what would make any file of this process larger than some bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_no_half_line_is_left_where_there_is_no_room(
    tmp_path: Path, file_size_limit: Callable[[int], None]
) -> None:
    metrics = Metrics()
    log = EventLog(tmp_path, metrics)
    await log.append({"n": 0})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file_size_limit(len(whole) + 10)
    refused = await asyncio.gather(*(log.append({"n": n}) for n in range(1, 4)), return_exceptions=True)
    assert [type(error) for error in refused] == [UnavailableError] * 3
    assert file.read_bytes() == whole
    assert metrics.registry.get_sample_value("radsearch_event_log_faults_total") == 3
    file_size_limit(1_000_000)
    await log.append({"n": 4})
    assert [event["n"] for event in lines(tmp_path)] == [0, 4]
    await log.close()


async def test_processes_share_a_directory(tmp_path: Path) -> None:
    (tmp_path / "events-2026-01-01-0a1b2c3d.jsonl").write_text(
        '{"n": 0}\n{"n": 1'
    )  # what kill -9 leaves behind
    logs = [EventLog(tmp_path, Metrics()) for _ in range(2)]
    await asyncio.gather(*(log.append({"n": n}) for n in range(2, 100) for log in logs))
    for log in logs:
        await log.close()
    whole = [event["n"] for event in lines(tmp_path)]
    assert sorted(whole) == sorted([0, *range(2, 100), *range(2, 100)])
    assert len(list(tmp_path.iterdir())) == 3


async def test_searches_do_not_pile_up_behind_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "MAX_UNWRITTEN", 10)
    metrics = Metrics()
    log = EventLog(tmp_path, metrics)
    for n in range(25):
        log.record({"n": n})
    await log.close()
    assert len(lines(tmp_path)) == 10
    assert metrics.registry.get_sample_value("radsearch_event_log_faults_total") == 15


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="--event-log"):
        EventLog(tmp_path / "file" / "log", Metrics())
