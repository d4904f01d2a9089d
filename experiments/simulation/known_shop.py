"""The synthetic shop as its maker knows it: what is typed how often, and what is truly relevant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from experiments.errors import ExperimentError
from training.data.splits import Split, hash_split
from training.shop.catalogue import load_catalogue
from training.shop.clicks import MAX_RESULTS
from training.shop.queries import make_queries, query_frequency
from training.shop.relevance import Answers, Relevance
from training.shop.shop import ITEMS_PER_CATEGORY, MARKER, QUERIES_PER_ITEM, ShopSettings
from training.shop.stock import Item, make_stock

PAGE = MAX_RESULTS
"""Items of a page; the click model knows no place below."""

NO_ITEM = -1
"""Stands for the row, and for the grade, of a place where no item is."""


@dataclass(frozen=True)
class KnownShop:
    """A shop, and the truth about it.

    Attributes:
        queries: distinct texts.
        frequency: share of the searches that each query has, float64 [n_queries], sums to 1.
        answers: true relevance, by query.
        prices: of the items, float64 [n_items].
        rows: item_id → row.
    """

    queries: list[str]
    frequency: NDArray[np.float64]
    answers: list[Answers]
    prices: NDArray[np.float64]
    rows: dict[str, int]

    @classmethod
    def load(cls, directory: Path, split: Split | None = None) -> "KnownShop":
        """Make the shop again of which ``radsearch shop`` wrote the files.

        The files hold the truth but for items that hardly answer a query; its settings give all of it.

        Args:
            directory: of the shop.
            split: queries of this split alone; None for all.

        Raises:
            ExperimentError: if it is no such shop, or one of another release.
        """
        try:
            settings = ShopSettings(**orjson.loads((directory / MARKER).read_bytes())["settings"])
            written = [orjson.loads(line) for line in (directory / "items.jsonl").read_bytes().splitlines()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExperimentError(
                f"{directory} is not a synthetic shop ({error}); make one with: radsearch shop"
            ) from error
        catalogue = load_catalogue().first(max(settings.items // ITEMS_PER_CATEGORY, 1))
        stock = make_stock(catalogue, settings.items, settings.seed)
        if stock.items != written:
            raise ExperimentError(
                f"{directory} was written by another release, which drew other items; make it again with: "
                "radsearch shop"
            )
        queries = make_queries(catalogue, stock, round(settings.items * QUERIES_PER_ITEM), settings.seed)
        relevance = Relevance(catalogue, stock.items)
        answers = [relevance.answers(query.intent) for query in queries]
        frequency = query_frequency(queries, [len(one.of_grade(3)) for one in answers], settings.seed)
        kept = [
            number for number, query in enumerate(queries) if split is None or hash_split(query.text) == split
        ]
        if not kept:
            raise ExperimentError(f"{directory} has no query in split {split}; make a larger shop")
        return cls(
            [queries[number].text for number in kept],
            frequency[kept] / frequency[kept].sum(),
            [answers[number] for number in kept],
            _prices(stock.items),
            {item["item_id"]: row for row, item in enumerate(stock.items)},
        )

    def page(self, item_ids: Sequence[str]) -> NDArray[np.int32]:
        """Rows of the items of an answer, int32 [PAGE]; NO_ITEM fills it up.

        Raises:
            ExperimentError: if an item is not of this shop.
        """
        rows = np.full(PAGE, NO_ITEM, np.int32)
        try:
            rows[: len(item_ids)] = [self.rows[item_id] for item_id in item_ids]
        except KeyError as error:
            raise ExperimentError(
                f"the service found item {error}, which is not in the shop; "
                "serve bundles that were trained on it"
            ) from error
        return rows

    def grades(self, query: int, page: NDArray[np.int32]) -> NDArray[np.int8]:
        """True relevance 0..3 of a page to a query, int8 [PAGE]; NO_ITEM where no item is."""
        grades: NDArray[np.int8] = np.where(
            page == NO_ITEM, np.int8(NO_ITEM), self.answers[query].grades_of(page)
        )
        return grades


def _prices(items: list[Item]) -> NDArray[np.float64]:
    return np.array([item["price"] for item in items], np.float64)
