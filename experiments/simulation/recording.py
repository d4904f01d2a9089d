"""What the real service answers to every query, once for each variant.

An answer depends on the query and the variant alone: the shopper decides which variant it is, and nothing
else; a bundle does not change, a beam search draws nothing, each query is decoded by itself, and where the
service was busy and narrowed a beam the recording is refused. So what it answered once is what it would
answer any shopper at any time, and experiments may be drawn from recorded answers by the thousand. Only of
latency they say nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.errors import ExperimentError
from experiments.simulation.asking import ask
from experiments.simulation.known_shop import NO_ITEM, PAGE, KnownShop
from experiments.simulation.served import served
from radsearch.client import AsyncClient

NARROWED = "beam"  # of what an answer may be degraded by, the one that changes its items


@dataclass(frozen=True)
class Recorded:
    """Answers of one variant to all queries of a shop.

    Attributes:
        pages: item rows, NO_ITEM where no item is; int32 [n_queries, PAGE].
        grades: true relevance of the items, int8 [n_queries, PAGE].
    """

    pages: NDArray[np.int32]
    grades: NDArray[np.int8]


def record(shop: KnownShop, bundles: Sequence[str], variants: Mapping[str, Any]) -> dict[str, Recorded]:
    """Serve bundles and ask for every query of each variant.

    Args:
        shop: whose queries.
        bundles: as ``radsearch serve`` takes them.
        variants: by name, values of the feature ``variant``, see ``docs/experiments.md``.

    Raises:
        ExperimentError: if the service does not start, fails, or narrows a beam.
    """
    # Each variant has one user, whose name is the variant's.
    rules = [{"condition": {"user_id": name}, "force": value} for name, value in variants.items()]
    names, n_queries = list(variants), len(shop.queries)
    pages = {name: np.full((n_queries, PAGE), NO_ITEM, np.int32) for name in names}

    async def search(client: AsyncClient, number: int) -> None:
        name, query = names[number // n_queries], number % n_queries
        answer = await client.search(shop.queries[query], k=PAGE, user_id=name)
        if NARROWED in answer.degraded:
            raise ExperimentError("the service was too busy and narrowed a beam; try again when it is not")
        pages[name][query] = shop.page([item.item_id for item in answer.items])

    with (
        TemporaryDirectory(prefix="radsearch-recording-") as scratch,
        served(bundles, {"variant": {"rules": rules}}, Path(scratch)) as url,
    ):
        ask(url, len(names) * n_queries, search)
    return {name: Recorded(page, _grades(shop, page)) for name, page in pages.items()}


def _grades(shop: KnownShop, pages: NDArray[np.int32]) -> NDArray[np.int8]:
    return np.stack([shop.grades(query, page) for query, page in enumerate(pages)])
