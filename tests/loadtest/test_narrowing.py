import random

import pytest

from loadtest.answers import Item
from loadtest.narrowing import attribute_filter


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Arrow", {"a": ["Arrow"]}),
        (True, {"a": True}),
        (False, {"a": False}),
        (9.5, {"a": {"lte": 9.5}}),
        (3, {"a": {"lte": 3}}),
    ],
)
def test_a_filter_keeps_the_item_it_was_made_from(value: str | float, expected: dict[str, object]) -> None:
    assert attribute_filter([Item(item_id="1", attributes={"a": value})], random.Random(0)) == expected


@pytest.mark.parametrize(
    "items", [[], [Item(item_id="1")], [Item(item_id="1", attributes={"a": None, "b": ["x"]})]]
)
def test_there_is_no_filter_without_a_plain_value(items: list[Item]) -> None:
    assert attribute_filter(items, random.Random(0)) == {}


def test_every_item_and_attribute_is_used() -> None:
    items = [Item(item_id=str(n), attributes={"a": f"a{n}", "b": f"b{n}"}) for n in range(3)]
    rng = random.Random(0)
    made = {repr(attribute_filter(items, rng)) for _ in range(200)}
    assert made == {repr({name: [f"{name}{n}"]}) for name in "ab" for n in range(3)}
