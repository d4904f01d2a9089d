"""True relevance: what a query is about, and how well every item answers it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.shop.catalogue import Catalogue
from training.shop.stock import Item

Constraint = tuple[str, str]  # attribute and the value it must have (for a list, contain)
Grades = NDArray[np.int8]


@dataclass(frozen=True)
class Intent:
    """What a user wants.

    Attributes:
        categories: names of the categories meant, any of them; empty where only a brand is named.
        constraints: sorted, all of them wanted.
    """

    categories: tuple[str, ...]
    constraints: tuple[Constraint, ...]


class Relevance:
    """Grades of all items of a shop for an intent.

    3: the category and all constraints match. 2: the category and more than half of the constraints. 1: the
    category alone, or a sibling category with all constraints. 0: the rest. An intent without category has
    all items in its category, but grade 1 only where a constraint matches.
    """

    def __init__(self, catalogue: Catalogue, items: list[Item]) -> None:
        self._siblings = {category.name: category.siblings for category in catalogue.categories}
        self._none = np.zeros(len(items), dtype=bool)
        labels = np.array([item["category"] for item in items])
        self._in_category = {category.name: labels == category.label for category in catalogue.categories}
        self._having: dict[Constraint, NDArray[np.bool_]] = {}
        for row, item in enumerate(items):
            for name, value in item.items():
                for one in value if isinstance(value, list) else [value] if isinstance(value, str) else []:
                    self._having.setdefault((name, one), self._none.copy())[row] = True

    def grades(self, intent: Intent) -> Grades:
        """Grade every item, int8 [n_items]."""
        wanted = len(intent.constraints)
        matched = np.zeros(len(self._none), dtype=np.int8)
        for constraint in intent.constraints:
            matched += self._having.get(constraint, self._none)
        within = self._within(intent.categories) if intent.categories else matched > 0
        siblings = [sibling for name in intent.categories for sibling in self._siblings[name]]
        beside = self._within(siblings) & ~within
        grades = np.where(matched == wanted, 3, np.where(2 * matched > wanted, 2, 1))
        return np.where(within, grades, beside & (matched == wanted)).astype(np.int8)

    def _within(self, categories: list[str] | tuple[str, ...]) -> NDArray[np.bool_]:
        masks = [self._in_category[name] for name in categories if name in self._in_category]
        within: NDArray[np.bool_] = np.logical_or.reduce([self._none, *masks])
        return within
