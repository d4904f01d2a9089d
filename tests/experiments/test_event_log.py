from pathlib import Path
from typing import Any

import pytest

from experiments.errors import ExperimentError
from experiments.event_log import EventLog


def test_a_search_counts_once_however_often_it_is_logged(log: Any) -> None:
    log.search("ada", 0, hours=1, request_id="r", variant="sft")
    log.search("ada", 0, hours=2, request_id="r", variant="later")
    read = EventLog(log.write())
    assert read.rows("SELECT variant FROM searches") == [("sft",)]
    assert (read.counts.searches, read.counts.searches_left_out) == (1, 1)


def test_an_action_counts_once_per_event_id_and_always_without_one(log: Any) -> None:
    request_id = log.search("ada", 0)
    for event_id in ("e1", "e1", "e2", None, None):
        log.action("click", request_id, event_id=event_id)
    read = EventLog(log.write())
    assert (read.counts.actions, read.counts.actions_left_out) == (4, 1)


def test_actions_of_unknown_searches_are_kept_apart_and_counted(log: Any) -> None:
    log.action("click", log.search("ada", 0))
    log.action("purchase", "never-logged", price=10.0)
    assert EventLog(log.write()).counts.actions_without_search == 1


def test_files_are_read_together_and_half_a_last_line_is_skipped(log: Any) -> None:
    request_id = log.search("ada", 0)
    log.write("events-2026-11-02-a.jsonl", end='{"schema": 1, "type": "sea')
    log.action("click", request_id)
    read = EventLog(log.write("events-2026-11-02-b.jsonl"))
    assert (read.counts.searches, read.counts.actions, read.counts.unreadable) == (1, 1, 1)
    assert read.counts.actions_without_search == 0


def test_who_is_unknown_is_told_apart_by_the_browser(log: Any) -> None:
    log.search("ada", 0, anonymous_id="x")
    log.search(None, 0, anonymous_id="x")
    log.search(None, 0, anonymous_id="y")
    users = EventLog(log.write()).rows('SELECT DISTINCT "user" FROM searches ORDER BY "user"')
    assert users == [("ada",), ("x",), ("y",)]


def test_times_are_read_as_utc_wherever_they_were_written(log: Any) -> None:
    log.search("ada", 0, time="2026-11-02T01:30:00.000+01:00")
    assert str(EventLog(log.write()).rows('SELECT "time" FROM searches')[0][0]) == "2026-11-02 00:30:00"


def test_lines_of_the_first_release_name_one_experiment(log: Any) -> None:
    old = {"time": "2026-11-02T00:00:00.000+00:00", "type": "search", "user_id": "ada", "anonymous_id": "x"}
    log.line({**old, "request_id": "1", "experiment": "k", "variation": 1, "items": ["a"]})
    log.line({**old, "request_id": "2", "experiment": None, "variation": None, "items": ["a"]})
    read = EventLog(log.write())
    assert read.rows("SELECT experiments FROM searches ORDER BY request_id") == [({"k": 1},), ({},)]
    assert read.experiments() == ["k"]


def test_every_experiment_of_the_log_is_known_interleaved_ones_too(log: Any) -> None:
    log.search("ada", None, experiments={"b": 0, "a": 1})
    log.search("ada", None, interleaved={"experiment": "c", "variants": ["x", "y"], "teams": [0, 1, None]})
    assert EventLog(log.write()).experiments() == ["a", "b", "c"]


def test_a_newer_log_is_not_misread(log: Any) -> None:
    log.search("ada", 0, schema=2)
    with pytest.raises(ExperimentError, match="schema 2"):
        EventLog(log.write())


def test_a_directory_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"has no events-\*\.jsonl"):
        EventLog(tmp_path)
