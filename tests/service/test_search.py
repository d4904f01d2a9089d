from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.settings import BundleSource
from sid import OrderingWeights, Trie
from sid.manifest import Manifest
from training.checkpoint import load_decoder
from training.dataset import Dataset
from training.ordering import gather_candidates, item_features
from training.search import TrieTree, constrained_search, search_queries

QUERIES = ["red running shoes", "wool hat", "雨伞", "👟 red", "Crème brûlée", "x" * 500]


def assert_same_ranking(items: list[dict[str, Any]], expected: dict[str, float]) -> None:
    """Scores agree place by place, and each item has its own; equal scores may change places."""
    assert [item["score"] for item in items] == pytest.approx(list(expected.values()), abs=1e-4)
    for item in items:
        assert item["score"] == pytest.approx(expected[item["item_id"]], abs=1e-4)


@pytest.mark.parametrize("query", QUERIES)
def test_a_beam_that_holds_every_sid_ranks_like_brute_force(
    query: str, running: Any, brute_force: Any
) -> None:
    answer = running.search(query, k=100)
    assert_same_ranking(answer["items"], brute_force.scores(answer["variant"], query))
    assert answer["returned"] == len(brute_force.items)
    assert answer["exhausted"]


@pytest.mark.parametrize("beam_width", [4, 64])
@pytest.mark.parametrize("variant", ["sft", "rad-dpo"])
def test_what_is_served_is_what_was_evaluated(
    bundles: Path, start_service: Any, variant: str, beam_width: int
) -> None:
    """The same items and scores as in ``radsearch evaluate``, which knows neither ONNX nor Redis."""
    data, decoder = Dataset.load(bundles.parent / "data"), load_decoder(bundles.parent / variant)
    ordering = OrderingWeights(**Manifest.read(bundles / variant).ordering)
    queries = list(data.query_rows)
    search = partial(
        constrained_search,
        decoder,
        trie=TrieTree.from_trie(Trie.from_table(data.sids)),
        beam_width=beam_width,
    )
    beams = search_queries(data, queries, search, torch.device("cpu"))
    evaluated = gather_candidates(item_features(decoder, data), data, queries, beams)
    with start_service(bundles=(BundleSource(None, bundles / variant),)) as running:
        for query, candidates in zip(queries, evaluated, strict=True):
            scores = candidates.parts @ ordering.of_parts()
            by_item = dict(zip(candidates.items.tolist(), scores.tolist(), strict=True))
            best = {data.item_ids[item]: by_item[item] for item in candidates.order(ordering, 10).tolist()}
            assert_same_ranking(running.search(query, k=10, beam_width=beam_width)["items"], best)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_k_cuts_the_ranking(k: int, running: Any, brute_force: Any) -> None:
    answer = running.search(k=k)
    scores = brute_force.scores(answer["variant"], "red running shoes")
    assert_same_ranking(answer["items"], dict(islice(scores.items(), k)))
    assert (answer["requested"], answer["returned"], answer["exhausted"]) == (k, k, False)


def test_an_answer_says_what_the_catalogue_says(running: Any, brute_force: Any) -> None:
    for item in running.search(k=100)["items"]:
        known = dict(brute_force.items[item["item_id"]])
        assert item["title"] == known.pop("title")
        assert item["attributes"] == {name: value for name, value in known.items() if name != "item_id"}


conditions = st.fixed_dictionaries(
    {},
    optional={
        "category": st.one_of(
            st.sampled_from(["wool hat", "雨伞", "sandals"]),
            st.lists(st.sampled_from(["wool hat", "rain boots", "雨伞"]), min_size=1, max_size=3),
        ),
        "brand": st.sampled_from(["Ada", "Bo"]),
        "price": st.dictionaries(
            st.sampled_from(["gte", "gt", "lte", "lt"]), st.floats(0, 100) | st.integers(0, 100), min_size=1
        ),
        "stock": st.one_of(
            st.integers(0, 20),
            st.lists(st.integers(-5, 25), min_size=1, max_size=4),
            st.dictionaries(st.sampled_from(["gte", "lt"]), st.integers(0, 20), min_size=1),
        ),
        "in_stock": st.booleans(),
        "tags": st.one_of(
            st.sampled_from(["new", "sale", "old"]),
            st.lists(st.sampled_from(["new", "sale", "eco"]), min_size=1, max_size=2),
        ),
    },
)

COMPARE = {
    "gte": lambda value, limit: value >= limit,
    "gt": lambda value, limit: value > limit,
    "lte": lambda value, limit: value <= limit,
    "lt": lambda value, limit: value < limit,
}


def keeps(filters: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """What a filter means, said for one item."""

    def holds(item: dict[str, Any], name: str, condition: Any) -> bool:
        value = item.get(name)
        if value is None:
            return False
        if isinstance(condition, dict):
            return all(COMPARE[bound](value, limit) for bound, limit in condition.items())
        wanted = condition if isinstance(condition, list) else [condition]
        return any(each in wanted for each in value) if isinstance(value, list) else value in wanted

    return lambda item: all(holds(item, name, condition) for name, condition in filters.items())


@settings(max_examples=40)
@given(filters=conditions)
def test_filters_mean_what_they_say(filters: dict[str, Any], running: Any, brute_force: Any) -> None:
    answer = running.search("blue rain boots", k=100, filters=filters, user_id="same")
    expected = brute_force.scores(answer["variant"], "blue rain boots", keeps(filters))
    assert_same_ranking(answer["items"], expected)
    assert answer["exhausted"]


@pytest.mark.parametrize("beam_width", [1, 3, 4])
def test_a_narrow_beam_finds_at_most_its_width(beam_width: int, running: Any, brute_force: Any) -> None:
    answer = running.search(k=100, beam_width=beam_width)
    found = {tuple(item["sid"]) for item in answer["items"]}
    assert 1 <= len(found) <= beam_width
    assert answer["returned"] < 100
    assert not answer["exhausted"], "a wider beam would find more"


def test_a_beam_between_the_exported_widths_is_the_best_part_of_the_next(running: Any) -> None:
    def sids(beam_width: int) -> set[tuple[int, ...]]:
        items = running.search(k=100, beam_width=beam_width, user_id="same")["items"]
        return {tuple(item["sid"]) for item in items}

    assert len(sids(10)) == 10
    assert sids(10) < sids(20) < sids(64)


def test_a_batch_is_its_searches(running: Any) -> None:
    searches = [
        {"query": query, "k": 5, "user_id": f"user-{n}", "filters": {"in_stock": bool(n % 2)}}
        for n, query in enumerate(QUERIES)
    ]
    response = running.client.post("/v1/search/batch", json={"searches": searches})
    assert response.status_code == 200
    results = response.json()["results"]
    assert len({result["request_id"] for result in results}) == len(searches)
    for search, result in zip(searches, results, strict=True):
        alone = running.search(**search)
        assert result["variant"] == alone["variant"]
        assert_same_ranking(result["items"], {item["item_id"]: item["score"] for item in alone["items"]})


def test_a_search_that_fails_leaves_the_others_of_its_batch_alone(start_service: Any) -> None:
    with start_service(queue_limit=1) as running:
        body = {"searches": [{"query": query} for query in QUERIES]}
        response = running.client.post("/v1/search/batch", json=body)
    assert response.status_code == 200
    answered, *refused = response.json()["results"]
    assert answered["items"]
    assert len(refused) == len(QUERIES) - 1
    for problem in refused:
        assert (problem["status"], problem["type"]) == (429, "urn:radsearch:problem:overloaded")


def test_stages_are_parts_of_the_total(running: Any) -> None:
    timings = running.search()["timings_ms"]
    total = timings.pop("total")
    assert set(timings) == {"tokenize", "queue", "decode", "items"}
    assert all(value >= 0 for value in timings.values())
    assert sum(timings.values()) <= total + 0.01, "rounding aside"


def test_models_tell_what_is_served(running: Any) -> None:
    body = running.client.get("/v1/models").json()
    assert [model["variant"] for model in body["models"]] == ["sft", "rad-dpo"]
    model = body["models"][0]
    assert (model["items"], model["beam_widths"]) == (60, [4, 64])
    assert {attribute["name"] for attribute in model["attributes"]} == {
        "category", "brand", "price", "stock", "in_stock", "tags"
    }  # fmt: skip
    assert len({model["epoch"] for model in body["models"]}) == 1, "one catalogue, one epoch"
    assert all(running.search(example)["items"] for example in body["examples"])
