import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.answers import Item
from loadtest.filters import attribute_filter, filterable_attributes

VALUES = st.one_of(
    st.none(),
    st.text(max_size=3),
    st.booleans(),
    st.integers(-9, 9),
    st.floats(-9, 9),
    st.lists(st.text(max_size=2)),
)
ITEMS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), VALUES).map(
        lambda attributes: Item(item_id="i", attributes=attributes)
    ),
    max_size=5,
)


def meets(value: object, condition: Any) -> bool:
    if isinstance(condition, dict):
        bounds = {"gte": lambda value, bound: value >= bound, "lte": lambda value, bound: value <= bound}
        return isinstance(value, int | float) and all(
            bounds[name](value, bound) for name, bound in condition.items()
        )
    return value in condition if isinstance(condition, list) else value is condition


@given(ITEMS, st.none() | st.frozensets(st.sampled_from("abcd")), st.randoms(use_true_random=False))
def test_a_filter_keeps_an_item_and_names_what_it_may(
    items: list[Item], known: frozenset[str] | None, rng: random.Random
) -> None:
    made = attribute_filter(items, known, rng)
    assert known is None or set(made) <= known
    if made:
        assert any(
            all(name in item.attributes and meets(item.attributes[name], made[name]) for name in made)
            for item in items
        )


@pytest.mark.parametrize(
    "items", [[], [Item(item_id="1")], [Item(item_id="1", attributes={"a": None, "b": ["x"], "c": ""})]]
)
def test_there_is_no_filter_without_a_plain_value(items: list[Item]) -> None:
    assert attribute_filter(items, None, random.Random(0)) == {}


def test_every_kind_of_condition_is_made() -> None:
    items = [
        Item(item_id=str(n), attributes={"brand": f"b{n}", "new": n > 0, "price": 5.0 + n}) for n in range(3)
    ]
    rng = random.Random(0)
    made = [attribute_filter(items, None, rng) for _ in range(300)]
    assert {len(filter_) for filter_ in made} == {1, 2}
    brands = [filter_["brand"] for filter_ in made if "brand" in filter_]
    assert {len(brand) for brand in brands if isinstance(brand, list)} == {1, 2}
    prices = [filter_["price"] for filter_ in made if "price" in filter_]
    assert {tuple(price) for price in prices if isinstance(price, dict)} == {("lte",), ("gte", "lte")}


def test_a_server_says_what_filters_may_name(shop_url: str) -> None:
    assert filterable_attributes(shop_url, key=None) == {"brand", "price"}


def test_a_server_that_does_not_say_leaves_it_open(silent_url: str) -> None:
    assert filterable_attributes(silent_url, key=None) is None
