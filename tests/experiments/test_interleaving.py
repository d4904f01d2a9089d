from typing import Any

import pytest
from scipy.stats import binomtest

from experiments.event_log import EventLog
from experiments.exposed import Period
from experiments.interleaving import interleavings, preference

TEAMS = {"experiment": "k", "variants": ["sft", "rad-dpo"], "teams": [0, 1, None]}


def clicked(log: Any, user: str, *item_ids: str, **fields: Any) -> None:
    request_id = log.search(user, None, interleaved=TEAMS, **fields)
    for item_id in item_ids:
        log.action("click", request_id, item_id=item_id)


def test_a_click_is_a_credit_for_the_team_that_put_the_item_there(log: Any) -> None:
    clicked(log, "ada", "a", "c")  # a: sft, b: rad-dpo, c: neither
    clicked(log, "bob", "b", "b")  # the same item again says nothing new
    clicked(log, "eve", "a", "b")
    clicked(log, "dan")
    (found,) = interleavings(EventLog(log.write()), "k", Period())
    assert found.variants == ("sft", "rad-dpo")
    assert (found.searches, found.users) == (4, 4)
    assert (found.credits, found.shared_clicks) == ((2, 2), 1)
    assert found.searches_won == (1, 1)
    assert found.users_won == (1, 1)


def test_a_user_has_one_voice_however_many_searches(log: Any) -> None:
    for _ in range(9):
        clicked(log, "ada", "a")
    clicked(log, "ada", "b")
    clicked(log, "bob", "b")
    clicked(log, "eve", "b")
    (found,) = interleavings(EventLog(log.write()), "k", Period())
    assert found.searches_won == (9, 3)
    assert found.users_won == (1, 2)
    assert found.win_share is not None
    assert found.win_share.mean == pytest.approx(2 / 3)
    assert found.winner is None, "three users may be chance"


def test_clicks_on_what_was_not_shown_are_nobodys(log: Any) -> None:
    clicked(log, "ada", "elsewhere")
    (found,) = interleavings(EventLog(log.write()), "k", Period())
    assert found.credits == (0, 0)
    assert found.win_share is None
    assert found.p == 1


def test_many_users_decide(log: Any) -> None:
    for number in range(60):
        clicked(log, f"u{number}", "b" if number % 4 else "a")
    (found,) = interleavings(EventLog(log.write()), "k", Period())
    assert found.winner == "rad-dpo"
    assert found.p == pytest.approx(binomtest(45, 60).pvalue)


def test_other_experiments_are_not_mixed_in(log: Any) -> None:
    clicked(log, "ada", "a")
    log.search("bob", None, interleaved=TEAMS | {"experiment": "other"})
    (found,) = interleavings(EventLog(log.write()), "k", Period())
    assert found.searches == 1


def test_a_preference_is_one_whichever_team_comes_first() -> None:
    share, p = preference(30, 50)
    mirrored, same_p = preference(50, 30)
    assert share is not None and mirrored is not None
    assert share.mean == pytest.approx(1 - mirrored.mean)
    assert share.low == pytest.approx(1 - mirrored.high)
    assert p == pytest.approx(same_p)
