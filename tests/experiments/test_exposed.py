from datetime import datetime, timedelta
from typing import Any

import numpy as np

from experiments.event_log import EventLog
from experiments.exposed import Exposed, Period, exposed


def found(log: Any, period: Period | None = None) -> Exposed:
    users = exposed(EventLog(log.write()), "k", period or Period())
    assert users is not None
    return users


def rows(users: Exposed) -> list[dict[str, Any]]:
    return list(users.users.to_pylist())


def test_what_a_user_did_is_counted_by_search_and_session(log: Any) -> None:
    first = log.search("ada", 1, hours=0)
    log.action("click", first)
    log.action("click", first, item_id="b")
    log.action("purchase", first, quantity=2, price=3.5)
    log.search("ada", 1, hours=0.4)  # the same session, which is not abandoned
    log.search("ada", 1, hours=2, items=[])
    (row,) = rows(found(log))
    expected = {
        "variation": 1,
        "searches": 3,
        "clicked": 1,
        "bought": 1,
        "buyers": 1,
        "revenue": 7.0,
        "empty": 1,
        "sessions": 2,
        "abandoned": 1,
    }
    assert {name: row[name] for name in expected} == expected


def test_who_saw_two_variations_is_left_out_and_counted(log: Any) -> None:
    log.search("ada", 0)
    log.search("ada", 1)
    log.search("bob", 1)
    users = found(log)
    assert [row["variation"] for row in rows(users)] == [1]
    assert users.n_crossed == 1


def test_interleaved_searches_are_no_part_of_the_split(log: Any) -> None:
    log.search("ada", 0)
    log.search("ada", 0, interleaved={"experiment": "k", "variants": ["a", "b"], "teams": [0, 1, None]})
    log.search("ada", 0, interleaved={"experiment": "other", "variants": ["a", "b"], "teams": [0, 1, 0]})
    assert [row["searches"] for row in rows(found(log))] == [2]


def test_what_came_before_the_experiment_is_counted_apart_within_the_days_asked_for(log: Any) -> None:
    for hours in (0.0, 30.0, 40.0):
        log.action("click", log.search("ada", None, hours=hours))
    log.search("ada", 0, hours=50)
    log.search("new", 0, hours=50)
    known, new = sorted(rows(found(log, Period(pre_days=1.0))), key=lambda row: -row["pre_searches"])
    assert (known["searches"], known["pre_searches"], known["pre_clicked"]) == (1, 2, 2)
    assert (new["pre_searches"], new["pre_revenue"]) == (0, 0)


def test_a_period_takes_its_start_and_leaves_its_end(log: Any) -> None:
    begin = datetime(2026, 11, 2)
    for hours in (0.0, 1.0, 2.0):
        log.search("ada", 0, hours=hours)
    users = found(log, Period(begin + timedelta(hours=1), begin + timedelta(hours=2)))
    assert [row["searches"] for row in rows(users)] == [1]
    assert users.first == users.last == begin + timedelta(hours=1)
    assert [row["pre_searches"] for row in rows(users)] == [1]


def test_nobody_took_part(log: Any) -> None:
    log.search("ada", None)
    assert exposed(EventLog(log.write()), "k", Period()) is None


def test_a_variation_is_told_by_the_variants_that_answered(log: Any) -> None:
    for variant in ("sft", "sft", "fallback"):
        log.search("ada", 0, variant=variant)
    assert found(log).answered == {0: {"sft": 2, "fallback": 1}}


def test_counts_agree_with_counting_by_hand(write_traffic: Any) -> None:
    """A second implementation, in plain Python, over a log of some size."""
    directory = write_traffic(n_users=60, lift=0.3)
    log = EventLog(directory)
    users = exposed(log, "k", Period())
    assert users is not None
    by_user: dict[str, dict[str, float]] = {}
    searches = log.rows(
        'SELECT request_id, "user", experiments, len(items), "time" FROM searches ORDER BY "time"'
    )
    actions = log.rows("SELECT request_id, type, quantity * price FROM actions")
    last: dict[str, datetime] = {}
    for request_id, user, experiments, n_items, time in searches:
        if "k" not in experiments:
            continue
        mine = [(kind, value) for of, kind, value in actions if of == request_id]
        counts = by_user.setdefault(
            user, dict.fromkeys(("searches", "clicked", "revenue", "empty", "sessions"), 0.0)
        )
        counts["searches"] += 1
        counts["clicked"] += any(kind == "click" for kind, _ in mine)
        counts["revenue"] += sum(value for kind, value in mine if kind == "purchase")
        counts["empty"] += n_items == 0
        counts["sessions"] += user not in last or time - last[user] > timedelta(minutes=30)
        last[user] = time
    for name in ("searches", "clicked", "revenue", "empty", "sessions"):
        expected = sorted(counts[name] for counts in by_user.values())
        np.testing.assert_allclose(sorted(users.users[name].to_pylist()), expected)
