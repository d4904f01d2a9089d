"""Items are added and replaced while the service runs."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.embedder import NoEmbedder
from service.errors import ServiceError
from service.new_items import item_texts
from service.problems import InvalidRequestError
from service.settings import BundleSource
from training.data.items import item_texts as item_texts_of_training

QUERIES = ["red running shoes", "wool hat", "雨伞", "zebra slippers", "No. 7"]
ZEBRA = {
    "item_id": "zebra",
    "title": "Zebra  slippers",
    "attributes": {
        "category": "slippers",
        "brand": "Ada",
        "price": 7,
        "stock": 3,
        "in_stock": True,
        "tags": ["new", "zebra"],
    },
}


@pytest.fixture
def live(start_service: Any, bundles: Path) -> Iterator[Any]:
    """A service whose catalogue a test may change."""
    with start_service(bundles=(BundleSource("sft", bundles / "sft"),)) as running:
        yield running


def upsert(live: Any, *items: dict[str, Any]) -> None:
    live.change("upserted", items)


def epoch_of(live: Any) -> str:
    return live.service.catalogue.snapshot("sft").epoch.id


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it stands in ``items.jsonl``."""
    return {"item_id": item["item_id"], "title": item["title"], **item["attributes"]}


def by_id(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["item_id"]: item for item in answer["items"]}


def test_a_new_item_is_found_by_its_title(live: Any) -> None:
    before = live.search("zebra slippers", k=100)
    upsert(live, ZEBRA)
    after = live.search("zebra slippers", k=100)
    zebra = by_id(after)["zebra"]
    assert (zebra["title"], zebra["attributes"]) == ("Zebra slippers", ZEBRA["attributes"])
    assert by_id(after).keys() == by_id(before).keys() | {"zebra"}
    assert after["epoch"] != before["epoch"]
    only = live.search("zebra slippers", filters={"tags": "zebra"})
    assert by_id(only).keys() == {"zebra"}
    (model,) = live.client.get("/v1/models").json()["models"]
    assert (model["items"], model["epoch"]) == (61, after["epoch"])


@pytest.mark.parametrize(
    ("filters", "finds"),
    [
        ({"category": "slippers"}, True),
        ({"price": {"gte": 7, "lte": 7}}, True),
        ({"stock": 3, "in_stock": True}, True),
        ({"in_stock": False}, False),
        ({"brand": "Bo"}, False),
    ],
)
def test_filters_see_a_new_item(live: Any, filters: dict[str, Any], finds: bool) -> None:
    before = by_id(live.search("hat", k=100, filters=filters))
    upsert(live, ZEBRA)
    after = by_id(live.search("hat", k=100, filters=filters))
    assert after.keys() - before.keys() == ({"zebra"} if finds else set())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"attributes": {"colour": "red"}}, "/items/1/attributes/colour: no attribute.*; known: category, "),
        ({"attributes": {"price": "7"}}, "/items/1/attributes/price: is '7', the attribute holds numbers"),
        ({"attributes": {"price": float("nan")}}, "price: is nan, the attribute holds numbers"),
        ({"attributes": {"price": True}}, "price: is True, the attribute holds numbers"),
        ({"attributes": {"stock": 1.5}}, "stock: is 1.5, the attribute holds whole numbers"),
        ({"attributes": {"stock": 2**63}}, "stock: is 9223372036854775808, the attribute holds whole"),
        ({"attributes": {"in_stock": 1}}, "in_stock: is 1, the attribute holds truth values"),
        ({"attributes": {"brand": ["Ada"]}}, "brand: is .*, the attribute holds texts"),
        ({"attributes": {"tags": "new"}}, "tags: is 'new', the attribute holds lists of texts"),
        ({"attributes": {"tags": ["new", 1]}}, "tags: is .*, the attribute holds lists of texts"),
        ({"attributes": {"popularity": 1.0}}, "popularity: no attribute of this catalogue"),
        ({"item_id": "  "}, "/items/1/item_id: is blank"),
        ({"title": " "}, "/items/1/title: is blank"),
        ({"item_id": " i1"}, "/items/1/item_id: is that of /items/0, too"),
    ],
)
def test_what_a_catalogue_cannot_take_changes_nothing(
    live: Any, change: dict[str, Any], complaint: str
) -> None:
    snapshot = live.service.catalogue.snapshot("sft")
    good = {"item_id": "i1", "title": "a hat", "attributes": {}}
    with pytest.raises(InvalidRequestError, match=complaint) as caught:
        upsert(live, good, {"item_id": "i2", "title": "a hat", "attributes": {}, **change})
    assert "\n" not in str(caught.value)
    assert live.service.catalogue.snapshot("sft") is snapshot


def test_no_item_is_no_change(live: Any) -> None:
    with pytest.raises(InvalidRequestError, match="/items: has no item"):
        upsert(live)


def test_answers_are_those_of_a_catalogue_from_scratch(
    live: Any, bundles: Path, write_catalogue: Any, tmp_path: Path, start_service: Any
) -> None:
    """The oracle: what training makes of the same items. Some are new, some replaced, one is twice."""
    prior = np.load(bundles / "sft" / "item_prior.npy").tolist()
    items = [json.loads(line) for line in (bundles.parent / "items.jsonl").read_text().splitlines()]
    rng = random.Random(8)
    for step in range(4):
        changed = [
            {
                "item_id": f"i{rng.randrange(60)}",
                "title": f"quilted parka {step}",
                "attributes": {"price": 1.5},
            },
            {"item_id": f"new{step}", "title": f"green {step} parka", "attributes": {"tags": ["parka"]}},
            {**ZEBRA, "title": f"zebra slippers {step}"},
        ]
        upsert(live, *changed)
        for item in changed:
            known = [place for place, other in enumerate(items) if other["item_id"] == item["item_id"]]
            if known:
                items[known[0]] = plain(item)
            else:
                items.append(plain(item))
                prior.append(0.0)
    scratch = write_catalogue(tmp_path / "scratch", items, prior)
    with start_service(bundles=(BundleSource("sft", scratch),)) as oracle:
        for query in [*QUERIES, "quilted parka"]:
            for filters in (None, {"price": {"lt": 50}}, {"tags": ["parka", "sale"]}):
                ours = live.search(query, k=100, filters=filters)
                expected = oracle.search(query, k=100, filters=filters)
                assert by_id(ours).keys() == by_id(expected).keys()
                for item_id, item in by_id(expected).items():
                    found = by_id(ours)[item_id]
                    assert found.pop("score") == pytest.approx(item.pop("score"), abs=1e-4)
                    assert found == item
                assert ours["exhausted"] == expected["exhausted"]


def test_a_replaced_item_is_there_once(live: Any) -> None:
    for price in (1.0, 2.0, 3.0):
        upsert(live, {"item_id": "i5", "title": "zebra", "attributes": {"price": price}})
    items = live.search("zebra", k=100)["items"]
    assert len(items) == len({item["item_id"] for item in items}) == 60
    assert by_id({"items": items})["i5"]["attributes"] == {"price": 3.0}
    live.change("relisted", ["i5"])
    assert "i5" not in by_id(live.search("zebra", k=100))
    live.change("relisted", [])
    assert live.search("zebra", k=100)["items"] == items, "only the last one comes back"


def test_an_upsert_offers_a_delisted_item_again(live: Any) -> None:
    live.change("relisted", ["i5", "i6"])
    upsert(live, {"item_id": "i5", "title": "zebra", "attributes": {}})
    found = by_id(live.search("zebra", k=100))
    assert "i5" in found
    assert "i6" not in found


def test_replicas_call_the_same_change_by_the_same_name(live: Any, start_service: Any) -> None:
    with start_service() as replica:
        names = [epoch_of(live)]
        for item in (ZEBRA, {**ZEBRA, "title": "other slippers"}, ZEBRA):
            upsert(live, item)
            upsert(replica, {**item, "attributes": dict(reversed(item["attributes"].items()))})
            assert epoch_of(live) == epoch_of(replica)
            names.append(epoch_of(live))
    assert len(set(names)) == 4


def test_every_variant_gets_the_item(start_service: Any, bundles: Path) -> None:
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with start_service(bundles=sources) as live:
        upsert(live, ZEBRA)
        first, second = (live.service.catalogue.snapshot(name) for name in ("sft", "rad-dpo"))
    assert first.epoch is second.epoch
    assert len(first.features.vectors) == len(second.features.vectors) == 61
    assert not np.allclose(first.features.vectors[-1], second.features.vectors[-1])


def test_items_embedded_elsewhere_cannot_be_added(live: Any) -> None:
    engine = live.service.catalogue.snapshot("sft").variant.engine
    engine._embedder = NoEmbedder(8)
    with pytest.raises(ServiceError, match="embedded elsewhere"):
        upsert(live, ZEBRA)


def test_texts_of_items_are_those_of_training(bundles: Path) -> None:
    rows = pq.read_table(bundles / "sft" / "items.parquet")
    gaps = pa.Table.from_pylist([{"item_id": "a", "title": "A", "brand": "", "tags": []}], rows.schema)
    for table in (rows, gaps):
        without_popularity = (
            table.drop_columns(["popularity"]) if "popularity" in table.column_names else table
        )
        assert item_texts(without_popularity) == item_texts_of_training(table)
