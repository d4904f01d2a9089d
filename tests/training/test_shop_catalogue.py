"""The vocabulary hangs together: every title shows what queries ask for, every name is known."""

import pytest

from training.shop.catalogue import Category, load_catalogue
from training.shop.stock import PLACEHOLDER, UNIT, render_title

CATALOGUE = load_catalogue()
NAMES = {category.name for category in CATALOGUE.categories}


def test_the_shop_is_large_enough() -> None:
    assert len({category.department for category in CATALOGUE.categories}) >= 12
    assert len(NAMES) == len(CATALOGUE.categories) >= 80
    assert len({brand for category in CATALOGUE.categories for brand in category.brands}) >= 100


@pytest.mark.parametrize("category", CATALOGUE.categories, ids=lambda category: category.name)
def test_a_category_is_consistent(category: Category) -> None:
    known = {*category.attributes, "brand", "model", "extra"}
    assert set(category.siblings) <= NAMES - {category.name}
    assert {*category.ask, *category.vary, *category.steps} <= set(category.attributes)
    assert set(category.per_line) <= {*category.attributes, "brand"}
    assert 0 < category.price[0] < category.price[1]
    for title in category.titles:
        placeholders = set(PLACEHOLDER.findall(title))
        assert placeholders <= known
        assert {*category.ask, "brand"} - placeholders <= {"brand"}, "a title must show what queries ask for"
    values = {value for choices in category.attributes.values() for value in choices}
    for value in values & set(category.limits):
        for name in category.attributes:
            assert category.choices(name, {"of": value}), "a limit must leave a choice"


def test_words_are_of_values_and_attributes_that_exist() -> None:
    attributes = {name for category in CATALOGUE.categories for name in category.attributes}
    values = {v for category in CATALOGUE.categories for vs in category.attributes.values() for v in vs}
    assert set(CATALOGUE.phrases) <= attributes
    assert set(CATALOGUE.say) <= values
    assert all(pattern.count("{}") == 1 for patterns in CATALOGUE.phrases.values() for pattern in patterns)


def test_a_small_catalogue_keeps_every_department() -> None:
    departments = {category.department for category in CATALOGUE.categories}
    small = CATALOGUE.first(len(departments))
    assert {category.department for category in small.categories} == departments


def test_broad_words_mean_several_categories() -> None:
    assert set(CATALOGUE.by_term["sneakers"]) == {"running shoes", "casual sneakers"}
    assert CATALOGUE.by_term["couch"] == ("sofas",)


@pytest.mark.parametrize(
    ("features", "title"),
    [
        ([], "Oda Rain Jacket, Red"),
        (["Long"], "Oda Long Rain Jacket, Red, Long"),
        (["Long", "Hooded"], "Oda Long Hooded Rain Jacket, Red, Long, Hooded"),
    ],
)
def test_an_optional_part_goes_with_its_value(features: list[str], title: str) -> None:
    template = "{brand} [{features} ]Rain Jacket, {colour}[, {features}]"
    assert render_title(template, {"brand": "Oda", "colour": "Red", "features": features}) == title


def test_some_brands_join_numbers_and_units() -> None:
    assert UNIT.sub("", "Laptop 2 14 inch, 16 GB RAM, 12 x 85 g, 1.5 l") == (
        "Laptop 2 14 inch, 16GB RAM, 12 x 85g, 1.5l"
    )
