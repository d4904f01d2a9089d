"""``radsearch sessions``: from an event log to what ``radsearch prepare`` reads."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from radsearch.cli import build
from sid import RadsearchError
from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.events.sessions import SessionSettings, write_sessions

START = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = [f"i{n}" for n in range(10)]

Row = dict[str, Any]


class Log:
    """An event log in the making; minutes are since ``START``."""

    def __init__(self) -> None:
        self.lines: list[Row | str] = []

    def search(
        self, request_id: str, query: str, items: str, minute: float = 0, user_id: str | None = None
    ) -> None:
        """``items`` are digits: "031" showed i0, i3 and i1."""
        who = {"user_id": user_id, "anonymous_id": f"a-{request_id}"}
        shown = [f"i{digit}" for digit in items]
        self._add(minute, type="search", request_id=request_id, query=query, items=shown, **who)

    def event(
        self,
        request_id: str,
        item: str,
        kind: str = "click",
        minute: float = 0.5,
        event_id: str | None = None,
    ) -> None:
        self._add(minute, request_id=request_id, type=kind, item_id=f"i{item}", event_id=event_id)

    def _add(self, minute: float, **fields: Any) -> None:
        time = (START + timedelta(minutes=minute)).isoformat(timespec="milliseconds")
        self.lines.append({"schema": 1, "time": time, **fields})


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def made(log: Log, tmp_path: Path) -> Callable[..., tuple[list[Row], Row]]:
    """Sessions of the log, and the report."""

    def make(**settings: Any) -> tuple[list[Row], Row]:
        directory = tmp_path / "events"
        directory.mkdir(exist_ok=True)
        half = len(log.lines) // 2
        for number, lines in enumerate((log.lines[:half], log.lines[half:])):
            text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
            (directory / f"events-2026-03-01-0a1b2c3d-{number:04}.jsonl").write_text(text)
        catalogue = tmp_path / "items.jsonl"
        catalogue.write_text("".join(json.dumps({"item_id": item, "title": item}) + "\n" for item in ITEMS))
        out = tmp_path / "sessions.jsonl"
        report = write_sessions(directory, catalogue, out, SessionSettings(**settings))
        return [json.loads(line) for line in out.read_text().splitlines()], report

    return make


def test_a_visit_tells_what_was_chosen_and_what_was_passed_over(log: Log, made: Any) -> None:
    log.search("r", "Red  Shoes", "01234")
    log.event("r", "2", minute=1)
    log.event("r", "3", "purchase", minute=9)
    (session,), _ = made(by="visit", valid_share=0, min_examined=0.5)
    assert session["query"] == "Red  Shoes"
    assert session["positives"] == ["i3", "i2"], "what was bought comes first"
    assert session["negatives"] == ["i0", "i1", "i4"], "those above the last choice come first"
    assert session["timestamp"] == int(START.timestamp())
    assert "split" not in session
    (session,), _ = made(by="visit")
    assert session["negatives"] == ["i0", "i1"], "nobody knows that the last one was looked at"


def test_kinds_of_choices_rank_and_the_strongest_counts(log: Log, made: Any) -> None:
    log.search("r", "q", "0123")
    for item, kind in (("1", "click"), ("1", "cart"), ("2", "click"), ("3", "purchase"), ("3", "click")):
        log.event("r", item, kind)
    (session,), _ = made()
    assert (session["positives"], session["negatives"]) == (["i3", "i1", "i2"], ["i0"])


def test_one_session_for_each_query(log: Log, made: Any) -> None:
    log.search("r1", "hat", "012", user_id="ada")
    log.search("r2", "HAT ", "012", minute=2, user_id="bob")
    log.search("r3", "hat", "012", minute=4, user_id="eve")
    log.search("r4", "scarf", "345", minute=5, user_id="ada")
    log.event("r1", "1")
    log.event("r2", "1")
    (session,), report = made()
    assert (session["query"], session["positives"], session["negatives"]) == ("hat", ["i1"], ["i0", "i2"])
    assert (report["visits"]["visits"], report["visits"]["chosen"]) == (4, 2)


def test_a_rare_choice_of_what_is_mostly_passed_over_says_nothing(log: Log, made: Any) -> None:
    for n in range(20):
        log.search(f"r{n}", "hat", "01", minute=n)
        log.event(f"r{n}", "1")
    log.event("r7", "0")
    (session,), _ = made()
    assert (session["positives"], session["negatives"]) == (["i1"], [])
    log.event("r8", "0", "purchase")
    (session,), _ = made()
    assert set(session["positives"]) == {"i0", "i1"}, "what was bought is wanted"


def test_what_was_hardly_looked_at_is_no_negative(log: Log, made: Any) -> None:
    """Items 1 to 4 swap places and are wanted alike; those in the second place are hardly ever chosen."""
    for n in range(4_00):
        first, second = str(n % 4 + 1), str((n + 1) % 4 + 1)
        log.search(f"r{n}", "hat", first + second, minute=n)
        log.event(f"r{n}", second if n % 10 == 0 else first, minute=n)
    for n in range(8):
        log.search(f"s{n}", "coat", "56", minute=n)
        log.event(f"s{n}", "5", minute=n)
    sessions, report = made(min_examined=2.0)
    assert report["examination"][0] == 1.0
    assert report["examination"][1] == pytest.approx(40 / 360, abs=0.03)
    (coat,) = (session for session in sessions if session["query"] == "coat")
    assert coat["negatives"] == [], "seen eight times at a place that few look at"
    sessions, _ = made(min_examined=0.5)
    (coat,) = (session for session in sessions if session["query"] == "coat")
    assert coat["negatives"] == ["i6"]


def test_choices_far_down_weigh_more(log: Log, made: Any) -> None:
    for n in range(4_00):
        first, second = str(n % 4 + 1), str((n + 1) % 4 + 1)
        log.search(f"r{n}", "hat", first + second, minute=n)
        log.event(f"r{n}", second if n % 5 == 0 else first, minute=n)
    log.search("s", "coat", "56", minute=400)
    log.event("s", "6", minute=400)
    log.event("s", "5", minute=400)
    sessions, report = made(by="visit")
    weights = dict(zip(sessions[-1]["positives"], sessions[-1]["weights"], strict=True))
    assert weights == {"i5": 1.0, "i6": pytest.approx(1 / report["examination"][1], abs=0.01)}


def test_reloads_are_one_visit_with_the_longest_page(log: Log, made: Any) -> None:
    log.search("r1", "hat", "01", minute=0, user_id="ada")
    log.search("r2", "hat", "0123", minute=3, user_id="ada")
    log.search("r3", "hat", "0123", minute=8, user_id="ada")
    log.search("r4", "hat", "0123", minute=8, user_id="bob")
    log.search("r5", "hat", "0123", minute=30, user_id="ada")
    log.event("r1", "1", minute=1)
    log.event("r3", "2", minute=9)
    sessions, report = made(by="visit", valid_share=0)
    assert [session["positives"] for session in sessions] == [["i1", "i2"]]
    assert (report["visits"]["visits"], report["visits"]["reloads"]) == (3, 2)


def test_robots_are_left_out_for_their_day(log: Log, made: Any) -> None:
    for n in range(5):
        log.search(f"r{n}", f"hat {n}", "01", minute=n, user_id="robot")
        log.event(f"r{n}", "0")
    log.search("next day", "coat", "01", minute=24 * 60, user_id="robot")
    log.event("next day", "0")
    log.search("s", "hat", "01", user_id="ada")
    log.event("s", "1")
    sessions, report = made(max_searches_per_day=4)
    assert {session["query"] for session in sessions} == {"coat", "hat"}
    assert report["visits"]["of_robots"] == 5


def test_what_cannot_be_used_is_counted(log: Log, made: Any) -> None:
    log.search("r", "hat", "0129")
    log.search("r", "hat", "0129")
    log.search("empty", "hat", "")
    log.event("r", "1", event_id="e")
    log.event("r", "1", event_id="e")
    log.event("r", "7")
    log.event("unheard-of", "1")
    log.lines.append('{"schema": 1, "time": "2026-03-')
    (session,), report = made()
    assert session["positives"] == ["i1"]
    assert report["log"] == {
        "lines": 7,
        "unreadable": 1,
        "searches": 1,
        "events": 3,
        "repeated_events": 1,
        "events_of_no_search": 1,
    }
    assert report["visits"]["chosen_unseen"] == 1


def test_lines_of_the_first_release_are_read(log: Log, made: Any) -> None:
    log.search("r", "hat", "01")
    log.event("r", "1")
    later = {"schema", "event_id"}
    log.lines = [
        {name: value for name, value in line.items() if name not in later}
        for line in log.lines
        if isinstance(line, dict)
    ]
    (session,), _ = made()
    assert (session["positives"], session["negatives"]) == (["i1"], ["i0"])


def test_queries_that_come_up_late_are_valid(log: Log, made: Any) -> None:
    for n in range(10):
        log.search(f"r{n}", "hat" if n in (0, 9) else f"hat {n}", "01", minute=n, user_id=f"u{n}")
        log.event(f"r{n}", "0")
    sessions, report = made(by="visit", valid_share=0.2)
    splits = [(session["query"], session["split"]) for session in sessions]
    assert [query for query, split in splits if split == "valid"] == ["hat 8"]
    assert report["valid"] == 1
    assert splits[-1] == ("hat", "train"), "a query is in one split"


def test_a_query_needs_its_visits_and_a_session_has_some_negatives(log: Log, made: Any) -> None:
    log.search("r", "hat", "0123456789")
    log.event("r", "9")
    log.search("s", "coat", "01")
    log.event("s", "0")
    log.search("t", "coat", "01", minute=1)
    (coat,), _ = made(min_visits=2)
    assert coat["query"] == "coat"
    hat = next(session for session in made(max_negatives=3)[0] if session["query"] == "hat")
    assert hat["negatives"] == ["i0", "i1", "i2"]


def test_other_items_are_left_out(log: Log, made: Any) -> None:
    log.search("r", "hat", "012")
    log.lines.append({**log.lines[0], "request_id": "s", "query": "coat", "items": ["gone", "i1"]})  # type: ignore[dict-item]
    log.event("r", "1")
    log.event("s", "1", minute=1)
    log.lines.append({**log.lines[-1], "item_id": "gone"})  # type: ignore[dict-item]
    sessions, _ = made()
    assert {session["query"]: session["positives"] for session in sessions} == {"hat": ["i1"], "coat": ["i1"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has no choice"),
        ([{"schema": 2, "type": "search"}], "lines of schema 2"),
    ],
)
def test_logs_that_cannot_be_used(
    log: Log, made: Any, lines: list[Row], message: str, tmp_path: Path
) -> None:
    log.lines += lines
    log.search("r", "hat", "01")
    with pytest.raises(DataError, match=message):
        made()
    assert {entry.name for entry in tmp_path.iterdir()} == {"events", "items.jsonl"}


def test_the_command(log: Log, made: Any, tmp_path: Path) -> None:
    def run(*arguments: str | Path) -> Any:
        argv = ["sessions", *map(str, arguments)]
        return CliRunner().invoke(build(argv), argv)

    log.search("r", "hat", "01")
    log.event("r", "1")
    made()
    out = tmp_path / "out.jsonl"
    arguments = ("--from-events", tmp_path / "events", "--items", tmp_path / "items.jsonl", "--out", out)
    report = json.loads(run(*arguments, "--json").stdout)
    assert (report["sessions"], report["positives"], report["settings"]["by"]) == (1, 1, "query")
    assert "1 sessions" in run(*arguments).stdout
    result = run("--from-events", tmp_path, *arguments[2:])
    assert isinstance(result.exception, RadsearchError)
    prepared = prepare(
        tmp_path / "items.jsonl", out, None, tmp_path / "data", PrepareSettings(vocab_size=300)
    )
    assert prepared["rejected"]["total"] == 0
    assert (prepared["sessions"]["positives"], prepared["sessions"]["negatives"]) == (1, 1)
