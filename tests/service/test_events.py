import asyncio
import json
import shutil
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
    files = sorted(directory.glob("events-????-??-??.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line]


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


async def test_a_line_after_a_torn_one_stands_alone(tmp_path: Path) -> None:
    log = EventLog(tmp_path, Metrics())
    await log.append({"n": 0})
    (file,) = tmp_path.iterdir()
    file.unlink()
    file.mkdir()  # no file: the write fails
    with pytest.raises(UnavailableError):
        await log.append({"n": 1})
    file.rmdir()
    file.write_text('{"n": 1')  # what a full disk leaves behind
    await log.append({"n": 2})
    torn, whole = file.read_text().splitlines()
    assert torn == '{"n": 1'
    assert json.loads(whole)["n"] == 2
    await log.close()


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
