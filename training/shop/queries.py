"""What users type: an intent taken from an item of the shop, put into words the way people do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from training.data.splits import query_key
from training.shop.catalogue import Catalogue, Category
from training.shop.relevance import Constraint, Intent
from training.shop.stock import Item, Stock

# Share of each kind of query: how many attributes it names beside the category, and whether the brand.
KINDS = (
    (0.08, 0, False),
    (0.10, 0, True),
    (0.34, 1, False),
    (0.08, 1, True),
    (0.22, 2, False),
    (0.10, 3, False),
)
SHARE_BRAND_ALONE = 0.03  # brand and model, no category
SHARE_MODEL = 0.05  # brand, model and category
SHARE_BROAD = 0.06  # of the queries of a category that has broad words
SHARE_MISSPELT, SHARE_REORDERED, SHARE_DROPPED = 0.05, 0.10, 0.05
ASK_DECAY = 0.75  # weight of an attribute relative to the one asked more often
DROPPED = frozenset({"for", "in", "with", "size", "of", "by", "pack", "ram"})
DEFAULT_PHRASES = ("{}", "{}", "> {}")
FREQUENT_ANSWERS = 0.5  # how much a query gains from many answers
MISSPELT_EFFORT = 2  # a misspelt query is as rare as one with so many constraints more
MAX_TRIES = 60  # per query wanted
SPACED_UNIT = re.compile(r"(?<=\d) (?=[a-z]+$)")
# The key beside each letter.
NEIGHBOURS = dict(zip("abcdefghijklmnopqrstuvwxyz", "svxfrdhjoklknmpowtayibecux", strict=True))


@dataclass(frozen=True)
class Query:
    """A text, what its writer meant by it, and whether a word of it is misspelt."""

    text: str
    intent: Intent
    misspelt: bool


def make_queries(catalogue: Catalogue, stock: Stock, n_queries: int, seed: int) -> list[Query]:
    """Write distinct queries, about popular items more than about others.

    Each intent is taken from an item, so one item at least answers it fully. A text stands for one intent.

    Args:
        catalogue: categories and words.
        stock: the items.
        n_queries: how many at most; fewer where the shop is too small for so many.
        seed: of everything random.
    """
    random = Random(f"{seed}/queries")
    writer = _Writer(catalogue, random)
    rows = range(len(stock.items))
    weights = np.cumsum(stock.popularity**0.5).tolist()
    queries: dict[str, Query] = {}
    for row in random.choices(rows, cum_weights=weights, k=n_queries * MAX_TRIES):
        if len(queries) == n_queries:
            break
        query = writer.write(stock.items[row])
        queries.setdefault(query_key(query.text), query)
    return list(queries.values())


def query_frequency(queries: list[Query], n_answers: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Share of all searches that each query has: Zipf's law, short and broad ones first, misspelt ones late.

    Args:
        queries: the queries.
        n_answers: items that answer each of them fully.
        seed: of the noise in the order.

    Returns:
        float64 [n_queries], sums to 1.
    """
    effort = [len(query.intent.constraints) + MISSPELT_EFFORT * query.misspelt for query in queries]
    noise = np.random.default_rng([seed, 1]).normal(size=len(queries))
    order = np.argsort(-(FREQUENT_ANSWERS * np.log1p(n_answers) - effort + noise), kind="stable")
    share: NDArray[np.float64] = np.empty(len(queries))
    share[order] = 1.0 / (np.arange(len(queries)) + 10.0) ** 0.8
    share /= share.sum()
    return share


class _Writer:
    """Puts one item's properties into a query."""

    def __init__(self, catalogue: Catalogue, random: Random) -> None:
        self._catalogue = catalogue
        self._random = random
        self._categories = {category.label: category for category in catalogue.categories}
        self._kind_weights = [weight for weight, _, _ in KINDS]

    def write(self, item: Item) -> Query:
        """A query that the item answers fully."""
        category, random = self._categories[item["category"]], self._random
        brand, model = ("brand", item["brand"]), ("model", item["model"])
        if random.random() < SHARE_BRAND_ALONE:
            return self._query((), [], [brand] if random.random() < 0.3 else [brand, model])
        if random.random() < SHARE_MODEL:
            return self._query(category.terms, [], [brand, model])
        _, n_attributes, with_brand = random.choices(KINDS, self._kind_weights)[0]
        broad = category.broad and n_attributes < 2 and random.random() < SHARE_BROAD
        named = [brand] if with_brand else []
        return self._query(
            category.broad if broad else category.terms, self._asked(category, item, n_attributes), named
        )

    def _asked(self, category: Category, item: Item, n_attributes: int) -> list[Constraint]:
        """Some of the item's properties that people ask for."""
        names = [name for name in category.ask if name in item]
        chosen: list[Constraint] = []
        while names and len(chosen) < n_attributes:
            weights = [ASK_DECAY ** category.ask.index(name) for name in names]
            name = self._random.choices(names, weights)[0]
            names.remove(name)
            value = item[name]
            chosen.append((name, value if isinstance(value, str) else self._random.choice(value)))
        return chosen

    def _query(self, terms: Sequence[str], asked: list[Constraint], named: list[Constraint]) -> Query:
        random = self._random
        term = random.choice(terms) if terms else ""
        phrases = [self._phrase(*constraint) for constraint in asked]
        random.shuffle(phrases)
        before = [value.lower() for _, value in named]
        before += [phrase for phrase in phrases if not phrase.startswith(">")]
        after = [phrase.removeprefix(">").strip() for phrase in phrases if phrase.startswith(">")]
        parts = [part for part in (*before, term, *after) if part]
        if random.random() < SHARE_REORDERED:
            random.shuffle(parts)
        words = " ".join(parts).split()
        if random.random() < SHARE_DROPPED:
            words = [word for word in words if word not in DROPPED]
        written = self._misspelt(words) if random.random() < SHARE_MISSPELT else words
        categories = self._catalogue.by_term[term] if term else ()
        intent = Intent(categories, tuple(sorted(asked + named)))
        return Query(" ".join(written), intent, misspelt=written != words)

    def _phrase(self, name: str, value: str) -> str:
        """Say an attribute's value; ">" marks what comes after the category."""
        random = self._random
        said = random.choice(self._catalogue.say.get(value, (value.lower(),)))
        if random.random() < 0.5:
            said = SPACED_UNIT.sub("", said)
        if said.startswith("with "):
            return f"> {said}"
        if said.startswith(">"):
            return said
        return random.choice(self._catalogue.phrases.get(name, DEFAULT_PHRASES)).format(said)

    def _misspelt(self, words: list[str]) -> list[str]:
        """Spoil one longer word: a letter doubled, lost, swapped with the next, or its neighbour's key."""
        candidates = [index for index, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        if not candidates:
            return words
        index = self._random.choice(candidates)
        word = words[index]
        at = self._random.randrange(1, len(word) - 1)
        spoilt = self._random.choice(
            (
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1 :],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :],
            )
        )
        return [*words[:index], spoilt, *words[index + 1 :]]
