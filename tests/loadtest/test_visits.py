import itertools
from collections import Counter, defaultdict

import pytest

from loadtest.answers import Answer, BatchAnswer, EventAnswer, Item, Operation, Request, SearchAnswer
from loadtest.settings import LoadtestSettings
from loadtest.visits import Shopper, Shoppers

N_REQUESTS = 8000


def answers() -> dict[Operation, list[Answer]]:
    items = [Item(item_id=f"i{n}", attributes={"brand": "Arrow", "price": 2.5}) for n in range(10)]
    search = [SearchAnswer(request_id=f"r{n}", variant="v", items=items, degraded=[]) for n in range(2)]
    return {
        Operation.SEARCH: [search[0]],
        Operation.FILTER: [search[1]],
        Operation.BATCH: [BatchAnswer(results=search)],
        Operation.EVENT: [EventAnswer()],
    }


def requests(settings: LoadtestSettings, n_requests: int = N_REQUESTS) -> list[Request]:
    """What one shopper sends to a shop that answers everything."""
    shopper, given, sent = Shopper(Shoppers(settings)), answers(), []
    for _ in range(n_requests):
        sent.append(shopper.next_request())
        shopper.take(given[sent[-1].operation][0])
    return sent


def test_shares_are_those_of_the_settings() -> None:
    sent = Counter(
        request.operation for request in requests(LoadtestSettings(filters=0.3, batches=0.1, clicks=0.2))
    )
    assert sent[Operation.FILTER] / sent[Operation.SEARCH] == pytest.approx(0.3, abs=0.03)
    batches = sent[Operation.BATCH] / (sent[Operation.SEARCH] + sent[Operation.BATCH])
    assert batches == pytest.approx(0.1, abs=0.02)


def test_nothing_but_searches_where_nothing_else_is_asked_for() -> None:
    sent = requests(LoadtestSettings(filters=0, batches=0, clicks=0), 500)
    assert {request.operation for request in sent} == {Operation.SEARCH}


def test_events_follow_the_answer_that_showed_their_item() -> None:
    sent = requests(LoadtestSettings(filters=0.5, batches=0.1, clicks=0.5))
    came_before = defaultdict[tuple[object, object], set[object]](set)
    last_answer = ""
    for request in sent:
        if request.operation in {Operation.SEARCH, Operation.FILTER}:
            last_answer = "r0" if request.operation is Operation.SEARCH else "r1"
            came_before.clear()
        if request.operation is Operation.EVENT:
            event = request.body
            assert event["request_id"] == last_answer
            assert event["price"] == 2.5
            types = came_before[event["request_id"], event["item_id"]]
            assert {"click": set(), "cart": {"click"}, "purchase": {"click", "cart"}}[
                str(event["type"])
            ] <= types
            types.add(event["type"])


def test_an_event_id_is_one_event_also_where_it_is_sent_again() -> None:
    events = [
        request.body
        for request in requests(LoadtestSettings(clicks=1))
        if request.operation is Operation.EVENT
    ]
    same = defaultdict[object, list[object]](list)
    for event in events:
        same[event["event_id"]].append(event)
    assert all(event == first for first, *others in same.values() for event in others)
    repeated = sum(len(sent) > 1 for sent in same.values())
    assert repeated / len(same) == pytest.approx(0.02, abs=0.01)


def test_a_filter_narrows_the_query_before() -> None:
    search: Request | None = None
    for request in requests(LoadtestSettings(filters=1)):
        if request.operation is Operation.SEARCH:
            search = request
        if request.operation is Operation.FILTER:
            assert search is not None
            body = dict(request.body)
            assert body.pop("filters")
            assert body == search.body


def test_a_search_that_fails_leads_to_nothing() -> None:
    shopper = Shopper(Shoppers(LoadtestSettings(filters=1, clicks=1, batches=0)))
    for _ in range(50):
        assert shopper.next_request().operation is Operation.SEARCH
        shopper.take(None)


def test_equal_seeds_make_equal_visits() -> None:
    first, second = (requests(LoadtestSettings(seed=3), 500) for _ in range(2))
    assert first == second
    assert first != requests(LoadtestSettings(seed=4), 500)


def test_pauses_are_those_of_the_profile() -> None:
    silent, hasty = (Shopper(Shoppers(LoadtestSettings(think=think))) for think in ("none", "hasty"))
    assert [silent.pause() for _ in range(5)] == [0.0] * 5
    assert len({hasty.pause() for _ in range(5)}) == 5


def test_users_come_and_go() -> None:
    by_user = itertools.groupby(
        requests(LoadtestSettings(batches=0, clicks=0, filters=0), 4000),
        lambda request: request.body["user_id"],
    )
    lengths = [len(list(sent)) for _, sent in by_user]
    assert sum(lengths) / len(lengths) == pytest.approx(4.0, rel=0.1)
