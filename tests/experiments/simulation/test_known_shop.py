import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.errors import ExperimentError
from experiments.simulation.known_shop import NO_ITEM, PAGE, KnownShop
from training.data.splits import SPLITS, hash_split


def test_the_truth_is_that_of_the_shops_judgments(shop: KnownShop, shop_directory: Path) -> None:
    lines = (shop_directory / "shop" / "judgments.jsonl").read_text().splitlines()
    judged = [json.loads(line) for line in lines]
    queries = {query: number for number, query in enumerate(shop.queries)}
    for row in judged:
        page = shop.page([row["item_id"]])
        assert shop.grades(queries[row["query"]], page).tolist() == [row["grade"]] + [NO_ITEM] * (PAGE - 1)
    # Items of grades 2 and 3 are all judged, so that no other item has them.
    ids = list(shop.rows)
    good = {(row["query"], row["item_id"]) for row in judged if row["grade"] >= 2}
    for query, number in queries.items():
        grades = shop.answers[number].grades_of(np.arange(len(ids), dtype=np.int32))
        assert {(query, ids[row]) for row in np.flatnonzero(grades >= 2)} <= good


def test_queries_are_as_frequent_as_in_the_sessions(shop: KnownShop, shop_directory: Path) -> None:
    lines = (shop_directory / "shop" / "sessions.jsonl").read_text().splitlines()
    searched = [json.loads(line)["query"] for line in lines]
    counts = np.array([searched.count(query) for query in shop.queries])
    # Each was searched once, the rest by frequency.
    expected = 1 + shop.frequency * (len(searched) - len(counts))
    assert np.abs(counts - expected).max() <= 6 * np.sqrt(expected.max())
    assert np.corrcoef(counts, shop.frequency)[0, 1] > 0.5


def test_queries_of_a_split_are_a_shop_of_their_own(shop: KnownShop, shop_directory: Path) -> None:
    parts = [KnownShop.load(shop_directory / "shop", split) for split in SPLITS]
    assert sorted(query for part in parts for query in part.queries) == sorted(shop.queries)
    for split, part in zip(SPLITS, parts, strict=True):
        assert {hash_split(query) for query in part.queries} == {split}
        assert part.frequency.sum() == pytest.approx(1.0)
        number = shop.queries.index(part.queries[0])
        np.testing.assert_array_equal(part.answers[0].grades, shop.answers[number].grades)


def test_what_is_no_shop_or_another_releases_is_refused(shop_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="is not a synthetic shop"):
        KnownShop.load(tmp_path)
    copy = shutil.copytree(shop_directory / "shop", tmp_path / "shop")
    items = (copy / "items.jsonl").read_text().splitlines()
    (copy / "items.jsonl").write_text("\n".join(items[1:]))
    with pytest.raises(ExperimentError, match="drew other items; make it again"):
        KnownShop.load(copy)


def test_an_item_of_another_shop_is_named(shop: KnownShop) -> None:
    with pytest.raises(ExperimentError, match="found item 'elsewhere', which is not in the shop"):
        shop.page(["elsewhere"])
