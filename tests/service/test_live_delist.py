"""Single items go off offer and come back, from one search to the next."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.settings import BundleSource

QUERY = "red running shoes"
IN_STOCK = {"in_stock": True}


@pytest.fixture
def live(start_service: Any, bundles: Path) -> Iterator[Any]:
    """A service whose catalogue a test may change."""
    with start_service(bundles=(BundleSource("sft", bundles / "sft"),)) as running:
        yield running


def delist(live: Any, *item_ids: str) -> list[str]:
    live.change("relisted", live.service.catalogue.offer.delisted.union(item_ids))
    return live.service.catalogue.offer.unknown(item_ids)


def undelist(live: Any, *item_ids: str) -> list[str]:
    live.change("relisted", live.service.catalogue.offer.delisted.difference(item_ids))
    return live.service.catalogue.offer.unknown(item_ids)


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


def items_of_best_sid(live: Any) -> tuple[list[int], list[str]]:
    """The most likely SID and all of its items."""
    items = live.search(QUERY, k=100, beam_width=1)["items"]
    return items[0]["sid"], [item["item_id"] for item in items]


def test_an_item_is_gone_from_the_next_search_and_comes_back(live: Any) -> None:
    before = live.search(QUERY, k=100)
    gone = before["items"][0]["item_id"]
    assert delist(live, gone) == []
    without = live.search(QUERY, k=100)
    assert scores(without) == pytest.approx(
        {item_id: score for item_id, score in scores(before).items() if item_id != gone}, abs=1e-5
    )
    assert without["exhausted"]
    assert without["epoch"] == before["epoch"]
    assert undelist(live, gone) == []
    assert live.search(QUERY, k=100)["items"] == before["items"]
    assert live.service.catalogue.snapshot("sft").filters.listed is None, "no search pays for what was"


def test_a_sid_without_an_item_on_offer_is_not_generated(live: Any) -> None:
    sid, item_ids = items_of_best_sid(live)
    snapshot = live.service.catalogue.snapshot("sft")
    delist(live, *item_ids)
    narrow = live.search(QUERY, k=100, beam_width=1)
    assert narrow["items"], "the one beam goes to the next SID"
    assert narrow["items"][0]["sid"] != sid
    changed = live.service.catalogue.snapshot("sft")
    assert changed.filters.everything.n_leaves == snapshot.filters.everything.n_leaves - 1
    undelist(live, item_ids[0])
    (back,) = live.search(QUERY, k=100, beam_width=1)["items"]
    assert (back["sid"], back["item_id"]) == (sid, item_ids[0])


def test_filters_know_what_is_delisted(live: Any) -> None:
    before = live.search(QUERY, k=100, filters=IN_STOCK)
    gone = [item["item_id"] for item in before["items"]][::2]
    delist(live, *gone)
    after = live.search(QUERY, k=100, filters=IN_STOCK)
    assert scores(after).keys() == scores(before).keys() - set(gone)
    assert after["exhausted"]
    undelist(live, *gone)
    assert scores(live.search(QUERY, k=100, filters=IN_STOCK)).keys() == scores(before).keys()


def test_nothing_is_found_where_nothing_is_on_offer(live: Any) -> None:
    everything = [item["item_id"] for item in live.search(QUERY, k=100)["items"]]
    delist(live, *everything)
    for filters in (None, IN_STOCK):
        answer = live.search(QUERY, filters=filters)
        assert (answer["items"], answer["exhausted"]) == ([], True)
    (model,) = live.client.get("/v1/models").json()["models"]
    assert (model["items"], model["sids"]) == (0, 0)


async def every_mask(snapshot: Any) -> list[Any]:
    filtered = await snapshot.filters.mask(IN_STOCK)
    everything = snapshot.filters.everything
    return [filtered.items, filtered.alive, everything.alive, snapshot.trie.alive]


def test_who_searches_keeps_what_it_saw(live: Any) -> None:
    snapshot = live.service.catalogue.snapshot("sft")
    before = [mask.copy() for mask in live.wait(every_mask(snapshot))]
    _, item_ids = items_of_best_sid(live)
    delist(live, *item_ids)
    for mask, expected in zip(live.wait(every_mask(snapshot)), before, strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_masks_are_those_of_a_catalogue_without_the_item(live: Any) -> None:
    """The oracle: leaf by leaf, item by item."""
    _, item_ids = items_of_best_sid(live)
    delist(live, *item_ids, "i3", "i30")
    delist(live, "i31")
    undelist(live, "i3")
    snapshot = live.service.catalogue.snapshot("sft")
    table, trie, catalogue = snapshot.epoch.table, snapshot.epoch.trie, snapshot.epoch.catalogue
    titles = catalogue.items(np.arange(len(catalogue)))
    gone = {*item_ids, "i30", "i31"} - {"i3"}
    listed = np.array([item["item_id"] not in gone for item in titles])
    in_stock = np.array([item["attributes"].get("in_stock") is True for item in titles])
    filtered = live.wait(snapshot.filters.mask(IN_STOCK))
    for mask, expected in ((snapshot.filters.everything, listed), (filtered, listed & in_stock)):
        leaves = np.array([expected[table.posting(leaf)].any() for leaf in range(table.n_leaves)])
        np.testing.assert_array_equal(mask.items, expected)
        np.testing.assert_array_equal(mask.alive, trie.alive(leaves))
        assert mask.n_leaves == leaves.sum()
    np.testing.assert_array_equal(snapshot.trie.alive.ravel(), snapshot.filters.everything.alive)


def test_items_that_nobody_knows_are_told(live: Any) -> None:
    snapshot = live.service.catalogue.snapshot("sft")
    assert delist(live, "i1", "nobody", "nothing") == ["nobody", "nothing"]
    assert undelist(live, "i1", "nobody") == ["nobody"]
    delist(live, "nobody")
    assert live.service.catalogue.snapshot("sft").epoch is snapshot.epoch


def test_a_delisted_item_is_gone_from_every_variant(start_service: Any, bundles: Path) -> None:
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with start_service(bundles=sources) as live:
        first, second = (live.service.catalogue.snapshot(name) for name in ("sft", "rad-dpo"))
        assert first.epoch is second.epoch, "one catalogue, one epoch"
        delist(live, "i7")
        changed = [live.service.catalogue.snapshot(name) for name in ("sft", "rad-dpo")]
    assert changed[0].filters is changed[1].filters
    assert [snapshot.filters.n_listed for snapshot in changed] == [59, 59]
    assert not any(snapshot.trie.alive is first.trie.alive for snapshot in changed)


def test_what_is_delisted_stays_so_in_the_next_catalogue(
    live: Any, write_catalogue: Any, tmp_path: Path
) -> None:
    items = [{"item_id": f"i{n}", "title": f"red hat {n}"} for n in range(8)]
    bundle = write_catalogue(tmp_path / "next", items)
    delist(live, "i2", "i50")
    live.change("loaded", "sft", bundle)
    assert scores(live.search(QUERY)).keys() == {f"i{n}" for n in range(8)} - {"i2"}
    undelist(live, "i2")
    assert scores(live.search(QUERY)).keys() == {f"i{n}" for n in range(8)}
