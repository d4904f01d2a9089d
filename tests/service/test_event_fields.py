"""What ``POST /v1/events`` takes, what the log has, and that docs/events.md says so."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
KINDS = {  # in the page's table
    "text": str,
    "integer": int,
    "number": float,
    "true or false": bool,
    "list": list,
    "object": dict,
}

Line = dict[str, Any]


def logged(directory: Path) -> list[Line]:
    return [json.loads(line) for file in directory.iterdir() for line in file.read_text().splitlines()]


def event(**fields: Any) -> Line:
    return {"request_id": "r", "type": "click", "item_id": "i1", **fields}


@pytest.fixture
def sent(start_service: Any, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """A service, and its log."""
    with start_service(event_log=tmp_path / "log") as running:
        yield running, tmp_path / "log"


def test_a_repeat_is_accepted_and_counts_once(sent: tuple[Any, Path]) -> None:
    running, log = sent
    codes = [running.client.post("/v1/events", json=event(event_id="e1")).status_code for _ in range(3)]
    assert codes == [202] * 3
    assert [line["event_id"] for line in logged(log)] == ["e1"]
    assert running.metric("radsearch_events_total", type="click") == 1


def test_times_of_events(sent: tuple[Any, Path]) -> None:
    running, log = sent
    now = datetime.now(UTC)

    def status(time: str) -> int:
        return int(running.client.post("/v1/events", json=event(event_time=time)).status_code)

    assert status((now - timedelta(days=29)).isoformat()) == 202
    assert status((now + timedelta(seconds=30)).isoformat()) == 202, "a clock may be ahead"
    assert status((now - timedelta(days=31)).isoformat()) == 422
    assert status((now + timedelta(minutes=5)).isoformat()) == 422
    assert status(now.replace(tzinfo=None).isoformat()) == 422
    assert status("2026-02-30T00:00:00Z") == 422
    assert running.client.post("/v1/events", json=event(event_time=1.7e9)).status_code == 422
    east = (now - timedelta(hours=1)).astimezone(timezone(timedelta(hours=8))).isoformat()
    assert status(east) == 202
    assert logged(log)[-1]["event_time"] == (now - timedelta(hours=1)).isoformat(timespec="milliseconds")


def test_a_click_long_after_its_search_and_one_of_no_search_are_taken(sent: tuple[Any, Path]) -> None:
    """Readers join, and keep apart what joins nothing."""
    running, log = sent
    assert running.client.post("/v1/events", json=event(request_id="unheard-of")).status_code == 202
    assert logged(log)[-1]["request_id"] == "unheard-of"


def test_ids_are_hashed_and_the_variant_stays(start_service: Any, bundles: Path, tmp_path: Path) -> None:
    features = tmp_path / "features.json"
    rule = {"key": "ab", "variations": ["sft", "rad-dpo"], "weights": [0.5, 0.5], "coverage": 1.0}
    features.write_text(json.dumps({"variant": {"defaultValue": "sft", "rules": [rule]}}))
    sources = f"sft={bundles / 'sft'},rad-dpo={bundles / 'rad-dpo'}"
    users = [f"user-{n}" for n in range(12)]
    variants = []
    for name, salt in (("plain", None), ("salted", "a secret of a shop")):
        log = tmp_path / name
        settings = {"bundles": sources, "experiments": features, "event_log": log, "user_salt": salt}
        with start_service(**settings) as running:
            variants.append([running.search(user_id=user)["variant"] for user in users])
            running.client.post("/v1/events", json=event(user_id=users[0]))
    assert variants[0] == variants[1]
    *searches, click = logged(tmp_path / "salted")
    assert "user-" not in "".join(map(str, [*searches, click]))
    assert click["user_id"] == searches[0]["user_id"]
    assert len({search["user_id"] for search in searches}) == len(users)


def test_the_page_lists_every_field(sent: tuple[Any, Path]) -> None:
    running, log = sent
    answer = running.search(user_id="ada", filters={"in_stock": True}, beam_width=16)
    moment = datetime.now(UTC).isoformat()
    full = event(request_id=answer["request_id"], user_id="ada", price=9.5, event_id="e", event_time=moment)
    assert running.client.post("/v1/events", json=full).status_code == 202
    search, click = logged(log)
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for title, line in (("Searches", search), ("Clicks, carts and purchases", click)):
        (section,) = (section for section in sections if section.startswith(title))
        rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| \S", section, re.MULTILINE)
        assert {name for name, _ in rows} == set(line), title
        for name, kind in rows:
            expected, _, may_be_null = kind.partition(", ")
            assert may_be_null in {"", "null"}
            value = line[name]
            assert isinstance(value, KINDS[expected]) or (value is None and may_be_null), (name, value)


def test_the_query_of_the_page_counts_clicks(sent: tuple[Any, Path]) -> None:
    running, log = sent
    for n in range(3):
        answer = running.search(f"red {n}")
    for _ in range(2):
        running.client.post("/v1/events", json=event(request_id=answer["request_id"]))
    with next(log.iterdir()).open("a") as file:
        file.write('{"schema": 1, "ti')  # what kill -9 leaves
    (query,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with duckdb.connect() as database:
        rows = database.execute(query.replace("events/events-", f"{log}/events-")).fetchall()
    assert rows == [("sft", 3, 1)]
