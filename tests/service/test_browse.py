"""Attributes and SIDs as the API shows them, against the rows of the shop."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from sid import item_text
from sid.lexical import singular, singulars_of
from sid.tfidf import words_of

OPERATIONS = [
    ("/v1/attributes", "GET"),
    ("/v1/sids", "GET"),
    ("/v1/sids/titles", "POST"),
    ("/v1/sids/report", "GET"),
]


@pytest.fixture(scope="module")
def shop(brute_force: Any, running: Any) -> list[dict[str, Any]]:
    """The items with their SIDs and embeddings, in the order of the catalogue."""
    epoch = running.service.catalogue.snapshot("sft").epoch
    leaves = epoch.table.leaf_of_item()
    rows = zip(brute_force.items.values(), epoch.table.codes[leaves].tolist(), epoch.embeddings, strict=True)
    return [{**item, "sid": tuple(sid), "embedding": embedding} for item, sid, embedding in rows]


@pytest.fixture(scope="module")
def delisting(start_service: Callable[..., Any], shop: list[dict[str, Any]]) -> Iterator[Any]:
    """A service that offers only every other item, and the items that it offers."""
    with start_service() as running:
        running.change("relisted", [item["item_id"] for item in shop[::2]])
        yield running, shop[1::2]


def get(running: Any, path: str, **params: Any) -> dict[str, Any]:
    response = running.client.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def test_attributes_are_counted(running: Any, shop: list[dict[str, Any]]) -> None:
    assert_counted(get(running, "/v1/attributes"), shop)


def test_only_what_is_on_offer_is_counted(delisting: Any) -> None:
    running, offered = delisting
    assert_counted(get(running, "/v1/attributes"), offered)


def assert_counted(answer: dict[str, Any], items: list[dict[str, Any]]) -> None:
    assert answer["items"] == len(items)
    told = {attribute["name"]: attribute for attribute in answer["attributes"]}
    assert set(told) == {"category", "brand", "price", "stock", "in_stock", "tags"}
    for name, attribute in told.items():
        values = [item[name] for item in items if name in item]
        singles = [one for value in values for one in (value if isinstance(value, list) else [value])]
        counts = Counter(singles)
        assert attribute["values"] == len(counts)
        frequent = {each["value"]: each["items"] for each in attribute["most_frequent"]}
        assert frequent.items() <= counts.items()
        assert len(frequent) == min(50, len(counts))
        assert list(frequent.values()) == [count for _, count in counts.most_common(50)]
        if name in ("price", "stock"):
            deciles = np.quantile(values, np.linspace(0, 1, 11))
            np.testing.assert_allclose(attribute["deciles"], deciles)
        else:
            assert attribute["deciles"] == []
        assert attribute["items"] == len([value for value in values if value != []])


def test_a_prefix_is_described_by_its_items(running: Any, shop: list[dict[str, Any]]) -> None:
    assert_described(running, shop)


def test_what_is_not_on_offer_lies_under_no_prefix(delisting: Any) -> None:
    assert_described(*delisting)


def assert_described(running: Any, items: list[dict[str, Any]]) -> None:
    """The whole tree, from the root down."""
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        prefix = waiting.pop()
        under = [item for item in items if item["sid"][: len(prefix)] == prefix]
        answer = get(running, "/v1/sids", prefix="-".join(map(str, prefix)))
        assert_node(answer["node"], prefix, items)
        if len(prefix) == 3:
            assert answer["children"] == []
            assert {item["item_id"] for item in answer["items"]} == {item["item_id"] for item in under}
            continue
        assert answer["items"] == []
        counts = Counter(item["sid"][len(prefix)] for item in under)
        assert answer["codes"] == len(counts)
        children = [child["prefix"][-1] for child in answer["children"]]
        assert children == sorted(counts, key=lambda code: (-counts[code], code))
        for child in answer["children"]:
            assert_node(child, (*prefix, child["prefix"][-1]), items)
            waiting.append(tuple(child["prefix"]))


def assert_node(node: dict[str, Any], prefix: tuple[int, ...], items: list[dict[str, Any]]) -> None:
    under = [item for item in items if item["sid"][: len(prefix)] == prefix]
    assert tuple(node["prefix"]) == prefix
    assert node["items"] == len(under)
    assert node["sids"] == len({item["sid"] for item in under})
    assert_typical(node, under)


def assert_typical(node: dict[str, Any], under: list[dict[str, Any]]) -> None:
    """The titles are nearest to the mean embedding, each word is one of a title and of several items."""
    nearness = {}
    for item in under:
        mean = np.mean([each["embedding"] for each in under], axis=0)
        nearness[item["title"]] = float(item["embedding"] @ mean)
    assert len(node["titles"]) == min(3, len(nearness))
    shown = [nearness.pop(title) for title in node["titles"]]
    np.testing.assert_allclose(shown, sorted(shown, reverse=True), atol=1e-6)
    assert not nearness or max(nearness.values()) <= min(shown) + 1e-6
    written = {word for item in under for word in words_of(item["title"])}
    texts = Counter(word for item in under for word in {*singulars_of(text_of(item))})
    assert len(node["words"]) <= 4
    for word in node["words"]:
        assert word in written
        assert texts[singular(word)] > 1


def text_of(item: dict[str, Any]) -> str:
    """A title and the texts among the attributes, as an item is found by."""
    texts = {name: item[name] for name in ("category", "brand", "tags") if name in item}
    return item_text(item["title"], texts)


def test_words_tell_a_prefix_from_the_others(running: Any, shop: list[dict[str, Any]]) -> None:
    nodes = [child for child in get(running, "/v1/sids")["children"] if child["items"] > 2]
    assert nodes
    for node in nodes:
        under = [item for item in shop if item["sid"][0] == node["prefix"][0]]
        first = node["words"][0]
        share, everywhere = (
            np.mean([singular(first) in singulars_of(text_of(item)) for item in items])
            for items in (under, shop)
        )
        assert share > everywhere


def test_children_are_limited(running: Any) -> None:
    answer = get(running, "/v1/sids", limit=1)
    assert len(answer["children"]) == 1 < answer["codes"]
    assert answer["children"] == get(running, "/v1/sids")["children"][:1]


def test_many_prefixes_are_described_at_once(running: Any, shop: list[dict[str, Any]]) -> None:
    prefixes = [[], list(shop[0]["sid"]), list(shop[1]["sid"][:2]), list(shop[0]["sid"]), [3, 3, 3, 3]]
    answer = running.client.post("/v1/sids/titles", json={"prefixes": prefixes}).json()
    assert [node["prefix"] for node in answer["prefixes"]] == prefixes
    for node in answer["prefixes"]:
        assert_node(node, tuple(node["prefix"]), shop)


def test_the_report_counts_items_by_code(running: Any, shop: list[dict[str, Any]]) -> None:
    report = get(running, "/v1/sids/report", variant="sft")
    sids = Counter(item["sid"] for item in shop)
    assert (report["items"], report["sids"]) == (len(shop), len(sids))
    assert report["items_per_sid_max"] == max(sids.values())
    assert report["items_per_sid_mean"] == pytest.approx(len(shop) / len(sids))
    shared = sum(count for count in sids.values() if count > 1)
    assert report["collision_share"] == pytest.approx(shared / len(shop))
    for level, told in enumerate(report["levels"]):
        counts = Counter(item["sid"][level] for item in shop)
        assert told["items_per_code"] == [counts[code] for code in range(4)]
        assert told["utilisation"] == len(counts) / 4
        assert told["prefixes"] == len({item["sid"][: level + 1] for item in shop})
    assert [node["items"] for node in report["crowded"]] == [n for _, n in sids.most_common(20)]
    for node in report["crowded"]:
        assert_node(node, tuple(node["prefix"]), shop)


def test_where_nothing_is_on_offer_nothing_is_counted(
    start_service: Callable[..., Any], shop: list[dict[str, Any]]
) -> None:
    with start_service() as running:
        running.change("relisted", [item["item_id"] for item in shop])
        attributes = get(running, "/v1/attributes")["attributes"]
        assert all(each["items"] == 0 and each["most_frequent"] == [] for each in attributes)
        root = get(running, "/v1/sids")
        assert root["node"] == {"prefix": [], "items": 0, "sids": 0, "titles": [], "words": []}
        assert root["children"] == []
        report = get(running, "/v1/sids/report")
        assert (report["items"], report["levels"], report["crowded"]) == (0, [], [])


@pytest.mark.parametrize("path", ["/v1/attributes", "/v1/sids", "/v1/sids/report"])
def test_an_unknown_variant_is_refused_with_those_known(path: str, running: Any) -> None:
    response = running.client.get(path, params={"variant": "none"})
    assert response.status_code == 422
    (problem,) = response.json()["errors"]
    assert problem["pointer"] == "variant"
    assert "sft, rad-dpo" in problem["detail"]


def test_looking_is_counted_as_searching_is(start_service: Callable[..., Any]) -> None:
    with start_service(rate_limit=0.001, rate_burst=1) as running:
        assert running.client.get("/v1/sids").status_code == 200
        assert running.client.get("/v1/attributes").status_code == 429


@pytest.fixture(scope="module")
def api(running: Any) -> Any:
    refused = {"expected-statuses": ["400", "413", "415", "422"]}
    config = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": refused}})
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json", config=config)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_the_endpoints_keep_to_their_contract(path: str, method: str, mode: GenerationMode, api: Any) -> None:
    @settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=api[path][method].as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        case.call_and_validate()

    call()
