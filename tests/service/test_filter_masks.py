from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.columns import Numbers, column_type
from service.epoch import Epoch
from service.filters import FilterIndex, FilterMask
from sid.manifest import Manifest

pytestmark = pytest.mark.anyio


@pytest.fixture
def epoch(bundles: Path) -> Epoch:
    return Epoch.load(bundles / "sft", Manifest.read(bundles / "sft"))


@pytest.fixture
def index(epoch: Epoch) -> FilterIndex:
    return FilterIndex(epoch, capacity=2)


FILTERS: list[dict[str, Any]] = [
    {"in_stock": True},
    {"price": {"gte": 90}},
    {"category": ["wool hat", "雨伞"], "brand": "Ada"},
    {"category": "sandals"},
    {"stock": 2.5},
    {"stock": {"gte": -(10**18), "lt": 10**18}},
    {"price": [10**18, -1]},
    {},
]


@pytest.mark.parametrize("filters", FILTERS)
async def test_a_leaf_lives_when_one_of_its_items_does(
    filters: dict[str, Any], epoch: Epoch, index: FilterIndex
) -> None:
    mask = await index.mask(filters)
    leaves = [mask.items[epoch.table.posting(leaf)].any() for leaf in range(epoch.table.n_leaves)]
    np.testing.assert_array_equal(mask.alive, epoch.trie.alive(np.array(leaves)))
    assert mask.n_leaves == sum(leaves)


async def test_no_value_meets_no_condition(epoch: Epoch, index: FilterIndex) -> None:
    mask = await index.mask({"stock": {"gte": -1e300}})
    items = epoch.catalogue.items(np.arange(len(epoch.catalogue)))
    known = ["stock" in item["attributes"] for item in items]
    np.testing.assert_array_equal(mask.items, known)
    assert not all(known)


async def test_equal_filters_share_a_mask(index: FilterIndex) -> None:
    first = await index.mask({"in_stock": True, "price": {"gte": 5, "lt": 50}})
    assert await index.mask({"price": {"lt": 50, "gte": 5}, "in_stock": True}) is first


@pytest.mark.parametrize(
    ("attribute", "accepted", "refused"),
    [
        ("price", [1, 2.5, [1, 2.5], {"lt": 3}], ["1", True, ["1"], [1, "1"], [True]]),
        ("stock", [1, 2.5, [1, 2.5], {"lt": 3}], ["1", True, ["1"]]),
        ("in_stock", [True, False], [1, "true", [True], {"lt": 3}]),
        ("category", ["hat", ["hat", "shoe"]], [1, True, [1], {"lt": 3}]),
        ("tags", ["new", ["new", "sale"]], [1, True, [1], {"lt": 3}]),
    ],
)
def test_conditions_fit_the_type(
    attribute: str, accepted: list[Any], refused: list[Any], index: FilterIndex
) -> None:
    column = index.columns[attribute]
    assert all(column.accepts(condition) for condition in accepted)
    assert not any(column.accepts(condition) for condition in refused)


async def test_large_integers_are_compared_exactly() -> None:
    ids = pa.array([2**53, 2**53 + 1, None], pa.int64())
    np.testing.assert_array_equal(Numbers(ids).matches(2**53 + 1), [False, True, False])


def test_what_cannot_be_filtered_is_no_column() -> None:
    assert column_type(pa.timestamp("us")) is None


async def test_recent_masks_stay_and_old_ones_go(index: FilterIndex) -> None:
    async def mask(price: int) -> FilterMask:
        return await index.mask({"price": price})

    first, second = await mask(1), await mask(2)
    assert await mask(1) is first
    await mask(3)  # there is room for two: the one not asked for goes
    assert await mask(1) is first
    assert await mask(2) is not second
