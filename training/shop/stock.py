"""Items of the shop: models of each category in several variants, with titles, prices and popularity."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.shop.catalogue import Catalogue, Category

Item = dict[str, Any]

BRANDS_PER_CATEGORY = 6
LINES_PER_BRAND = 3
MAX_VARIANTS = 5
POPULARITY_DECAY = 1.1  # exponent of the Zipf law within a category
BRAND_SPREAD, MODEL_SPREAD = 0.22, 0.12  # standard deviation of log price
SHARE_IN_STOCK = 0.92
SHARE_JOINING_UNITS = 0.35  # of the brands; they write "16GB"
MAX_REPEATS = 50  # tries for something new before an old one is taken again
NUMBERS = ("", " 2", " 3", " Pro", " Plus", " X", " Lite", " Neo", " GT")
FIRST_NUMBER = 100_000

OPTIONAL = re.compile(r"\[([^\]]*)\]")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
UNIT = re.compile(r"(?<=\d) (?=(?:GB|TB|MB/s|Hz|MP|W|V|mm|cm|m|l|ml|g|kg|h)\b)")


@dataclass(frozen=True)
class Stock:
    """The items, in random order.

    Attributes:
        items: rows of ``items.jsonl``.
        popularity: float64 [n_items], share of the demand; sums to 1.
    """

    items: list[Item]
    popularity: NDArray[np.float64]


def make_stock(catalogue: Catalogue, n_items: int, seed: int) -> Stock:
    """Fill the shop.

    Args:
        catalogue: what it sells.
        n_items: how many items, spread over the categories by their shares.
        seed: of everything random.
    """
    random = Random(f"{seed}/stock")
    shares = np.array([category.share for category in catalogue.categories])
    counts = _apportion(shares, n_items)
    items: list[Item] = []
    popularity: list[NDArray[np.float64]] = []
    for category, count in zip(catalogue.categories, counts, strict=True):
        items += islice(_Range(category, random).items(), int(count))
        demand = (np.arange(count) + 1.0) ** -POPULARITY_DECAY
        popularity.append(category.share * demand / max(demand.sum(), 1e-9))
    demand = np.concatenate(popularity)
    demand /= demand.sum()
    order = list(range(n_items))
    random.shuffle(order)
    stocked = [
        _with_record(items[row], number, demand[row] * n_items, random) for number, row in enumerate(order)
    ]
    return Stock(stocked, demand[order])


def _apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to the shares, by largest remainder."""
    exact = shares / shares.sum() * total
    counts: NDArray[np.int64] = exact.astype(np.int64)
    most_wanting = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[most_wanting] += 1
    return counts


class _Range:
    """What the shop offers of a category: which brands with which lines, at what price level."""

    def __init__(self, category: Category, random: Random) -> None:
        self._category = category
        self._random = random
        brands = random.sample(category.brands, min(BRANDS_PER_CATEGORY, len(category.brands)))
        self._lines = _lines_by_brand(category, brands, random)
        self._level = {brand: random.gauss(0.0, BRAND_SPREAD) for brand in brands}
        self._template = {brand: random.choice(category.titles) for brand in brands}
        self._joins_units = {brand: random.random() < SHARE_JOINING_UNITS for brand in brands}
        self._models: set[str] = set()

    def items(self) -> Iterator[Item]:
        """Items without end, the variants of one model after the other; titles repeat only when used up."""
        titles: set[str] = set()
        repeats = 0
        while True:
            for item in self._variants():
                repeats = repeats + 1 if item["title"] in titles else 0
                if not 0 < repeats < MAX_REPEATS:
                    titles.add(item["title"])
                    yield item

    def _variants(self) -> Iterator[Item]:
        category, random = self._category, self._random
        brand, line, model = self._new_model()
        base = self._properties(line)
        names = {"brand": brand, "model": model, "extra": random.choice(("", *category.extras))}
        template = self._template[brand] if random.random() < 0.7 else random.choice(category.titles)
        level = self._level[brand] + random.gauss(0.0, MODEL_SPREAD)
        for _ in range(random.randint(1, MAX_VARIANTS)):
            values = base | {name: random.choice(category.choices(name, base)) for name in category.vary}
            title = render_title(template, names | values)
            yield {
                "title": UNIT.sub("", title) if self._joins_units[brand] else title,
                "department": category.department,
                "category": category.label,
                "brand": brand,
                "model": model,
                "price": _price(category, values, level),
                **values,
            }

    def _properties(self, line: str) -> Item:
        """Values of all attributes for a new model."""
        category, random = self._category, self._random
        item: Item = {}
        for name in category.attributes:
            choices = category.choices(name, item)
            if name == "features":
                item[name] = random.sample(choices, min(random.choice((0, 1, 1, 2)), len(choices)))
            else:
                chooser = Random(f"{line}/{name}") if name in category.per_line else random
                item[name] = chooser.choice(choices)
        return item

    def _new_model(self) -> tuple[str, str, str]:
        """A brand, one of its lines and a model of it; a numbered model is offered once."""
        for _ in range(MAX_REPEATS):
            brand = self._random.choice(list(self._lines))
            line = self._random.choice(self._lines[brand])
            number = self._random.choice(NUMBERS) if self._category.numbered else ""
            model = line + number
            if not number or f"{brand} {model}" not in self._models:
                break
        self._models.add(f"{brand} {model}")
        return brand, line, model


def _lines_by_brand(category: Category, brands: list[str], random: Random) -> dict[str, list[str]]:
    if "brand" not in category.per_line:
        n_lines = min(LINES_PER_BRAND, len(category.lines))
        return {brand: random.sample(category.lines, n_lines) for brand in brands}
    lines = random.sample(category.lines, len(category.lines))
    return {brand: lines[index :: len(brands)] for index, brand in enumerate(brands)}


def render_title(template: str, values: Mapping[str, str | list[str]]) -> str:
    """Fill a template; an [optional part] goes where one of its values is missing.

    A list stands with commas in a part that has punctuation, else with blanks.
    """

    def filled(part: str) -> str:
        between = ", " if any(mark in part for mark in ",-(") else " "
        return PLACEHOLDER.sub(lambda match: _joined(values[match[1]], between), part)

    def optional(match: re.Match[str]) -> str:
        return filled(match[1]) if all(values[name] for name in PLACEHOLDER.findall(match[1])) else ""

    return filled(OPTIONAL.sub(optional, template))


def _joined(value: str | list[str], between: str) -> str:
    return value if isinstance(value, str) else between.join(value)


def _price(category: Category, values: Item, level: float) -> float:
    """A price near the category's usual ones, higher for more of what costs more, ending as prices do."""
    low, high = category.price
    price = math.sqrt(low * high) * math.exp(level)
    for name, step in category.steps.items():
        choices = category.attributes[name]
        price *= step ** (choices.index(values[name]) - (len(choices) - 1) / 2)
    price = min(max(price, low * 0.8), high * 1.25)
    if price < 20:
        return math.floor(price * 10) / 10 + 0.09
    if price < 100:
        return math.floor(price) + 0.99
    return float(round(price / 10) * 10 - 1)


def _with_record(item: Item, number: int, demand: float, random: Random) -> Item:
    """Add what the shop knows of an item: its id, stock, and ratings that follow demand (1 on average)."""
    first = {"item_id": f"P{FIRST_NUMBER + number}", "title": item.pop("title")}
    attributes = {name: item.pop(name) for name in ("department", "category", "brand", "model", "price")}
    record = {
        "in_stock": random.random() < SHARE_IN_STOCK,
        "rating": round(min(4.9, max(2.6, random.gauss(4.1 + 0.1 * math.log(demand + 0.1), 0.35))), 1),
        "reviews": int(demand * random.lognormvariate(3.2, 0.5)),
    }
    return first | attributes | record | {name: value for name, value in item.items() if value}
