import asyncio
import hashlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

from service import event_files, events
from service.errors import ServiceError
from service.event_files import EventFiles
from service.events import EventLog
from service.metrics import Metrics
from service.problems import UnavailableError
from service.pseudonyms import Pseudonyms

pytestmark = pytest.mark.anyio


def event_log(
    directory: Path,
    metrics: Metrics | None = None,
    *,
    flush_s: float = 0,
    max_bytes: int = 2**20,
    keep_days: int = 0,
    salt: str | None = None,
) -> EventLog:
    files = EventFiles(directory, max_bytes, keep_days)
    return EventLog(files, flush_s, Pseudonyms(salt), metrics or Metrics())


def lines(directory: Path) -> list[dict[str, Any]]:
    """All events, without the half line that a killed process may have left at the end of its file."""
    files = sorted(directory.glob("events-????-??-??-????????-????.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]


def counted(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"radsearch_event_log_{name}")


class At(datetime):
    """A clock that stands."""

    stands: datetime

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return cls.stands.astimezone(tz)


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let it be noon of a day for the files."""
    monkeypatch.setattr(event_files, "datetime", At)

    def set_day(text: str) -> None:
        At.stands = datetime.fromisoformat(f"{text}T12:00:00+00:00")

    return set_day


async def test_what_is_appended_is_on_the_disk(tmp_path: Path) -> None:
    log = event_log(tmp_path / "new" / "log")
    await log.append({"type": "click", "item_id": "雨伞"})
    (event,) = lines(tmp_path / "new" / "log")
    assert (event["schema"], event["type"], event["item_id"]) == (1, "click", "雨伞")
    assert event["time"].endswith("+00:00")
    await log.close()


async def test_everything_recorded_is_there_after_the_end(tmp_path: Path) -> None:
    log = event_log(tmp_path)
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
    log = event_log(tmp_path / "log", metrics)
    await log.append({"n": 0})
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(UnavailableError):
        await log.append({"n": 1})
    assert counted(metrics, "faults_total") == 1
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
    log = event_log(tmp_path, metrics)
    await log.append({"n": 0})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file_size_limit(len(whole) + 10)
    refused = await asyncio.gather(*(log.append({"n": n}) for n in range(1, 4)), return_exceptions=True)
    assert [type(error) for error in refused] == [UnavailableError] * 3
    assert file.read_bytes() == whole
    assert counted(metrics, "faults_total") == 3
    file_size_limit(1_000_000)
    await log.append({"n": 4})
    assert [event["n"] for event in lines(tmp_path)] == [0, 4]
    await log.close()


async def test_processes_share_a_directory(tmp_path: Path) -> None:
    (tmp_path / "events-2026-01-01-0a1b2c3d-0001.jsonl").write_text(
        '{"n": 0}\n{"n": 1'
    )  # what kill -9 leaves behind
    logs = [event_log(tmp_path) for _ in range(2)]
    await asyncio.gather(*(log.append({"n": n}) for n in range(2, 100) for log in logs))
    for log in logs:
        await log.close()
    whole = [event["n"] for event in lines(tmp_path)]
    assert sorted(whole) == sorted([0, *range(2, 100), *range(2, 100)])
    assert len(list(tmp_path.iterdir())) == 3


async def test_nothing_piles_up_behind_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_UNWRITTEN_BYTES", 500)
    metrics = Metrics()
    log = event_log(tmp_path, metrics)
    for n in range(100):
        log.record({"n": n})
    with pytest.raises(UnavailableError, match="wait for the disk"):
        await log.append({"n": 100})
    await log.close()
    kept = lines(tmp_path)
    assert [event["n"] for event in kept] == list(range(len(kept)))
    (file,) = tmp_path.iterdir()
    assert 500 <= file.stat().st_size < 600
    assert counted(metrics, "faults_total") == 101 - len(kept)
    assert counted(metrics, "bytes_total") == file.stat().st_size
    log = event_log(tmp_path, metrics)
    assert await log.append({"n": 101}), "there is room again"


async def test_exposures_gather_and_their_end_does_not_wait(tmp_path: Path) -> None:
    metrics = Metrics()
    log = event_log(tmp_path, metrics, flush_s=600)
    for n in range(6):
        log.record({"n": n})
        await asyncio.sleep(0)
    assert lines(tmp_path) == []
    await log.close()
    assert [event["n"] for event in lines(tmp_path)] == list(range(6))
    assert counted(metrics, "seconds_count") == 1, "one write for all"


async def test_an_event_whose_sender_waits_ends_the_gathering(tmp_path: Path) -> None:
    log = event_log(tmp_path, flush_s=600)
    for n in range(0, 6, 2):
        log.record({"n": n})
        assert await log.append({"n": n + 1})
        assert [event["n"] for event in lines(tmp_path)] == list(range(n + 2))
    log.record({"n": 6})
    await asyncio.sleep(0)
    assert len(lines(tmp_path)) == 6, "and the next ones gather again"
    await log.close()
    assert len(lines(tmp_path)) == 7


async def test_a_repeat_is_written_once_and_waits_for_the_first(tmp_path: Path) -> None:
    log = event_log(tmp_path)
    first, repeat = await asyncio.gather(*(log.append({"event_id": "a", "n": n}) for n in range(2)))
    assert (first, repeat) == (True, False)
    assert not await log.append({"event_id": "a", "n": 2})
    assert await log.append({"event_id": "b", "n": 3})
    assert await log.append({"event_id": None, "n": 4})
    assert await log.append({"event_id": None, "n": 5})
    assert [event["n"] for event in lines(tmp_path)] == [0, 3, 4, 5]


async def test_what_was_not_written_may_come_again(tmp_path: Path) -> None:
    log = event_log(tmp_path / "log")
    shutil.rmtree(tmp_path / "log")
    refused = await asyncio.gather(*(log.append({"event_id": "a"}) for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in refused] == [UnavailableError] * 2
    (tmp_path / "log").mkdir()
    assert await log.append({"event_id": "a"})
    assert len(lines(tmp_path / "log")) == 1


async def test_a_sender_that_leaves_takes_nothing_from_the_next(tmp_path: Path) -> None:
    log = event_log(tmp_path)
    first = asyncio.create_task(log.append({"event_id": "a"}))
    await asyncio.sleep(0)
    first.cancel()
    assert not await log.append({"event_id": "a"})
    assert len(lines(tmp_path)) == 1


async def test_only_recent_ids_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "RECENT_EVENTS", 2)
    log = event_log(tmp_path)
    for event_id in "abc":
        await log.append({"event_id": event_id})
    assert not await log.append({"event_id": "b"})
    assert await log.append({"event_id": "a"})


async def test_a_full_file_is_followed_by_the_next(tmp_path: Path, day: Callable[[str], None]) -> None:
    day("2026-03-01")
    log = event_log(tmp_path, max_bytes=200)
    for n in range(20):
        await log.append({"n": n})
    day("2026-03-02")
    await log.append({"n": 20})
    await log.close()
    assert [event["n"] for event in lines(tmp_path)] == list(range(21))
    sizes = {file.name[7:18] + file.name[-10:-6]: file.stat().st_size for file in sorted(tmp_path.iterdir())}
    *full, _, of_the_next_day = sizes.values()
    assert all(200 <= size < 300 for size in full)
    numbers = [f"2026-03-01-{number:04}" for number in range(1, len(sizes))]
    assert list(sizes) == [*numbers, "2026-03-02-0001"]
    assert of_the_next_day < 100


async def test_old_files_go(tmp_path: Path, day: Callable[[str], None]) -> None:
    names = {
        "old": "events-2026-02-26-0a1b2c3d-0001.jsonl",
        "older": "events-2025-12-31-0a1b2c3d.jsonl",  # without a number, as they were
        "kept": "events-2026-02-27-0a1b2c3d-0007.jsonl",
        "others": "events-2020-01-01-by-hand.jsonl",
    }
    for name in names.values():
        (tmp_path / name).touch()
    day("2026-03-01")
    keeping, deleting = event_log(tmp_path), event_log(tmp_path, keep_days=2)
    await keeping.append({})
    assert all((tmp_path / name).exists() for name in names.values())
    await deleting.append({})
    left = {name for name, file in names.items() if (tmp_path / file).exists()}
    assert left == {"kept", "others"}
    day("2026-03-02")
    await deleting.append({})
    assert not (tmp_path / names["kept"]).exists()


async def test_people_are_hashed_with_the_salt(tmp_path: Path) -> None:
    people = {"user_id": "ada", "anonymous_id": "b1"}
    for number, salt in enumerate(("s" * 16, "s" * 16, "s" * 15 + "t", None)):
        log = event_log(tmp_path / str(number), salt=salt)
        await log.append({**people, "query": "ada"})
        await log.append({"user_id": None})
    told = [[event["user_id"] for event in lines(tmp_path / str(number))] for number in range(4)]
    assert told[0] == told[1] != told[2]
    assert told[3] == ["ada", None]
    key = hashlib.blake2b(b"s" * 16).digest()
    (first, nobody) = lines(tmp_path / "0")
    assert first["user_id"] == hashlib.blake2b(b"ada", key=key, digest_size=16).hexdigest()
    assert first["anonymous_id"] == hashlib.blake2b(b"b1", key=key, digest_size=16).hexdigest()
    assert (nobody["user_id"], "anonymous_id" in nobody) == (None, False)


async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceError, match="--event-log"):
        event_log(tmp_path / "file" / "log")
