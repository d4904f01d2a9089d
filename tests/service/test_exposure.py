import json
from pathlib import Path
from typing import Any

import pytest

Events = list[dict[str, Any]]


def logged(directory: Path) -> Events:
    return [json.loads(line) for file in directory.iterdir() for line in file.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_search_is_exposed_once_with_what_was_shown(start_service: Any, log: Path) -> None:
    with start_service(event_log=log) as running:
        fields = {"k": 3, "filters": {"in_stock": True}, "user_id": "ada"}
        answer = running.search("  red   shoes ", **fields)
        running.client.post("/v1/search", json={"query": "red", "k": 0})  # shows nothing
    (exposure,) = logged(log)
    assert exposure["type"] == "search"
    assert exposure["request_id"] == answer["request_id"]
    assert exposure["query"] == "  red   shoes "
    assert exposure["filters"] == {"in_stock": True}
    assert (exposure["user_id"], exposure["k"], exposure["variant"]) == ("ada", 3, "sft")
    assert exposure["epoch"] == answer["epoch"]
    assert (exposure["experiments"], exposure["interleaved"]) == ({}, None)
    assert (exposure["exhausted"], exposure["degraded"]) == (answer["exhausted"], answer["degraded"])
    assert exposure["total_ms"] == answer["timings_ms"]["total"] > 0
    assert exposure["beam_width"] == 64, "the widest, as nobody says otherwise"
    assert exposure["ordering"] is None, "the bundle's"
    for field, of_item in (("items", "item_id"), ("sids", "sid"), ("scores", "score")):
        assert exposure[field] == [item[of_item] for item in answer["items"]]


def test_weights_of_the_request_are_in_its_exposure(start_service: Any, log: Path) -> None:
    with start_service(event_log=log) as running:
        running.search(ordering={"tau": 2, "words": 0})
    (exposure,) = logged(log)
    assert exposure["ordering"] == {"tau": 2, "words": 0}


def test_an_event_joins_the_search_by_its_id(start_service: Any, log: Path) -> None:
    with start_service(event_log=log) as running:
        answer = running.search(user_id="ada")
        event = {
            "request_id": answer["request_id"],
            "type": "purchase",
            "item_id": answer["items"][0]["item_id"],
            "user_id": "ada",
            "quantity": 2,
            "price": 9.5,
        }
        response = running.client.post("/v1/events", json=event)
        assert response.status_code == 202
        assert logged(log)[-1].items() >= event.items(), "on the disk before the answer"
    search, purchase = logged(log)
    assert search["request_id"] == purchase["request_id"]
    assert purchase["item_id"] in search["items"]


def test_a_batch_exposes_each_search_under_its_own_id(start_service: Any, log: Path) -> None:
    with start_service(event_log=log) as running:
        searches = [{"query": "red"}, {"query": "hat", "user_id": "ada"}]
        results = running.client.post("/v1/search/batch", json={"searches": searches}).json()["results"]
    assert {event["request_id"]: event["query"] for event in logged(log)} == {
        result["request_id"]: search["query"] for search, result in zip(searches, results, strict=True)
    }
