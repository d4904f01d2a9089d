"""What the shop can sell and how people speak of it, read from ``catalogue/*.toml``.

One file per department; ``words.toml`` holds what they share. The keys are the fields of :class:`Category`.
"""

import tomllib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import chain, zip_longest
from typing import Any

SHARED = "words.toml"


@dataclass(frozen=True)
class Category:
    """The grammar of one kind of item.

    Attributes:
        name: plural, lower-case; also the item's ``category`` in title case.
        department: the file's name of itself.
        brands: makers that offer it.
        lines: names of models.
        numbered: whether a model may carry a number.
        per_line: attributes (and "brand") that are the same for all items of a line, as a book's author is.
        share: how much of the catalogue it is, relative to the others.
        price: usual lowest and highest price.
        terms: what people call it, the most usual one repeated.
        broad: wider words that cover it among other categories.
        siblings: categories that a user may accept instead.
        titles: templates; ``{name}`` is an attribute, brand, model or extra, and a part in [brackets] is left
            out where one of its values is missing.
        extras: words that only decorate a title.
        ask: attributes that queries ask for, the most usual first; each is in every title.
        vary: attributes in which the variants of one model differ.
        attributes: values of each attribute. An item has one of them; of "features" none to two.
        limits: value → for other attributes, the values that go with it (a shoe for women has no size 45).
        steps: factor on the price from one value of an attribute to the next.
    """

    name: str
    department: str
    brands: tuple[str, ...]
    lines: tuple[str, ...]
    numbered: bool
    per_line: tuple[str, ...]
    share: float
    price: tuple[float, float]
    terms: tuple[str, ...]
    broad: tuple[str, ...]
    siblings: tuple[str, ...]
    titles: tuple[str, ...]
    extras: tuple[str, ...]
    ask: tuple[str, ...]
    vary: tuple[str, ...]
    attributes: dict[str, tuple[str, ...]]
    limits: dict[str, dict[str, tuple[str, ...]]]
    steps: dict[str, float]

    def choices(self, name: str, item: dict[str, Any]) -> tuple[str, ...]:
        """Values that an attribute may take beside the values that the item has so far."""
        choices = self.attributes[name]
        for value in item.values():
            allowed = self.limits.get(value, {}).get(name) if isinstance(value, str) else None
            choices = tuple(choice for choice in choices if allowed is None or choice in allowed)
        return choices

    @property
    def label(self) -> str:
        """The name as an item shows it."""
        return self.name.title()


@dataclass(frozen=True)
class Catalogue:
    """All categories and the words that queries are made of.

    Attributes:
        categories: first one of each department, then the second of each, and so on.
        phrases: attribute → patterns that say its value; ">" puts the phrase after the category's name.
        say: value → what people write for it, with ">" as above.
    """

    categories: tuple[Category, ...]
    phrases: dict[str, tuple[str, ...]]
    say: dict[str, tuple[str, ...]]

    @cached_property
    def by_term(self) -> dict[str, tuple[str, ...]]:
        """Term → names of all categories that people mean by it."""
        index: dict[str, tuple[str, ...]] = {}
        for category in self.categories:
            for term in dict.fromkeys(category.terms + category.broad):
                index[term] = (*index.get(term, ()), category.name)
        return index

    def first(self, n_categories: int) -> "Catalogue":
        """A smaller catalogue that still has every department, if n_categories allows."""
        return Catalogue(self.categories[:n_categories], self.phrases, self.say)


def load_catalogue() -> Catalogue:
    """Read the vocabulary shipped with the package."""
    folder = files("training.shop") / "catalogue"
    texts = {
        path.name: tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if path.name.endswith(".toml")
    }
    shared = texts.pop(SHARED)
    departments = [
        [_category(raw, department, shared["lists"]) for raw in department["categories"]]
        for department in texts.values()
    ]
    in_turn = chain.from_iterable(zip_longest(*departments))
    return Catalogue(
        categories=tuple(category for category in in_turn if category is not None),
        phrases={name: tuple(patterns) for name, patterns in shared["phrases"].items()},
        say={value: tuple(words) for value, words in shared["say"].items()},
    )


def _category(raw: dict[str, Any], department: dict[str, Any], lists: dict[str, list[str]]) -> Category:
    """Build a category; what it leaves out it takes from its department."""
    low, high = raw["price"]
    return Category(
        name=raw["name"],
        department=department["name"],
        brands=tuple(department["brands"]),
        lines=tuple(raw.get("lines", department["lines"])),
        numbered=raw.get("numbered", department.get("numbered", False) and "lines" not in raw),
        per_line=tuple(raw.get("per_line", ())),
        share=raw["share"],
        price=(low, high),
        terms=tuple(raw["terms"]),
        broad=tuple(raw.get("broad", ())),
        siblings=tuple(raw["siblings"]),
        titles=tuple(raw["titles"]),
        extras=tuple(raw.get("extras", ())),
        ask=tuple(raw["ask"]),
        vary=tuple(raw["vary"]),
        attributes={
            name: tuple(lists[values[1:]] if isinstance(values, str) else values)
            for name, values in raw["attributes"].items()
        },
        limits={
            value: {name: tuple(values) for name, values in others.items()}
            for value, others in department.get("limits", {}).items()
        },
        steps=raw.get("steps", {}),
    )
