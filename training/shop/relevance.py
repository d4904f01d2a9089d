"""True relevance: what a query is about, and how well every item answers it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.shop.catalogue import Catalogue
from training.shop.stock import Item

Constraint = tuple[str, str]  # attribute and the value it must have (for a list, contain)
Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Intent:
    """What a user wants.

    Attributes:
        categories: names of the categories meant, any of them; empty where only a brand is named.
        constraints: sorted, all of them wanted.
    """

    categories: tuple[str, ...]
    constraints: tuple[Constraint, ...]


@dataclass(frozen=True)
class Answers:
    """The items that answer an intent at all; all others have grade 0.

    Attributes:
        rows: int32 [n], item rows, ascending.
        grades: int8 [n], 1..3.
    """

    rows: Rows
    grades: NDArray[np.int8]

    def of_grade(self, grade: int) -> Rows:
        """Item rows with this grade."""
        rows: Rows = self.rows[self.grades == grade]
        return rows

    def grades_of(self, rows: NDArray[np.integer]) -> NDArray[np.int8]:
        """Grades of any items, int8 in the shape of rows."""
        position = np.searchsorted(self.rows, rows).clip(max=max(len(self.rows) - 1, 0))
        return np.where(self.rows[position] == rows, self.grades[position], 0).astype(np.int8)


class Relevance:
    """Grades of all items of a shop for an intent.

    3: the category and all constraints match. 2: the category and more than half of the constraints. 1: the
    category alone, or a sibling category with all constraints. 0: the rest. An intent without category has
    the items in its category for which a constraint matches.
    """

    def __init__(self, catalogue: Catalogue, items: list[Item]) -> None:
        self._n_items = len(items)
        self._siblings = {category.name: category.siblings for category in catalogue.categories}
        names = {category.label: category.name for category in catalogue.categories}
        asked = {"brand", "model"}.union(*(category.ask for category in catalogue.categories))
        having: dict[Constraint, list[int]] = {}
        for row, item in enumerate(items):
            having.setdefault(("category", names[item["category"]]), []).append(row)
            for name in asked & item.keys():
                value = item[name]
                for one in value if isinstance(value, list) else [value]:
                    having.setdefault((name, one), []).append(row)
        self._having = {constraint: np.array(rows, np.int32) for constraint, rows in having.items()}

    def answers(self, intent: Intent) -> Answers:
        """Grade every item and keep those above 0."""
        wanted = len(intent.constraints)
        matched = np.zeros(self._n_items, dtype=np.int8)
        for constraint in intent.constraints:
            matched[self._rows(constraint)] += 1
        within = self._within(intent.categories) if intent.categories else matched > 0
        siblings = [sibling for name in intent.categories for sibling in self._siblings[name]]
        beside = self._within(siblings) & ~within & (matched == wanted)
        rows = np.flatnonzero(within | beside).astype(np.int32)
        matches = matched[rows]
        grades = np.where(matches == wanted, 3, np.where(2 * matches > wanted, 2, 1))
        return Answers(rows, np.where(within[rows], grades, 1).astype(np.int8))

    def _rows(self, constraint: Constraint) -> Rows:
        return self._having.get(constraint, np.empty(0, np.int32))

    def _within(self, categories: Iterable[str]) -> NDArray[np.bool_]:
        mask = np.zeros(self._n_items, dtype=bool)
        for name in categories:
            mask[self._rows(("category", name))] = True
        return mask
