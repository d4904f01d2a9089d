"""Simulated experiments without a service: traffic before recorded answers.

Users' columns are those that :mod:`experiments.exposed` counts from an event log, so the same statistics
judge both.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from experiments.simulation.choices import Choices
from experiments.simulation.shoppers import Traffic

Columns = dict[str, NDArray[np.float64]]


def of_shoppers(traffic: Traffic, choices: Choices, prices: NDArray[np.float64], n_shoppers: int) -> Columns:
    """Count what each shopper did; zeros for those who did not come.

    Args:
        traffic: the searches.
        choices: of each of them, [n_searches, PAGE].
        prices: of the items shown, float64 [n_searches, PAGE].
        n_shoppers: how many there are.

    Returns:
        Columns of float64 [n_shoppers].
    """

    def total(of_search: ArrayLike) -> NDArray[np.float64]:
        return np.bincount(traffic.shopper, weights=of_search, minlength=n_shoppers).astype(np.float64)

    bought = total(choices.bought.any(axis=1))
    return {
        "searches": total(np.ones(len(traffic))),
        "clicked": total(choices.clicked.any(axis=1)),
        "bought": bought,
        "buyers": (bought > 0).astype(np.float64),
        "revenue": total((choices.bought * prices).sum(axis=1)),
    }


def users(now: Columns, before: Columns | None, variation: NDArray[np.int64]) -> pa.Table:
    """One row per shopper who came.

    Args:
        now: in the experiment.
        before: it; None where nothing is known.
        variation: of each shopper, int64 [n_shoppers].
    """
    came = now["searches"] > 0
    nothing = {name: np.zeros_like(column) for name, column in now.items()}
    known = {f"pre_{name}": column for name, column in (before or nothing).items()}
    return pa.table(
        {"variation": variation[came], **{name: column[came] for name, column in (now | known).items()}}
    )


def preferences(
    traffic: Traffic, clicked: NDArray[np.bool_], teams: NDArray[np.int8], n_shoppers: int
) -> NDArray[np.int8]:
    """Which team each shopper prefers, as :mod:`experiments.interleaving` credits clicks.

    Args:
        traffic: interleaved searches.
        clicked: bool [n_searches, PAGE].
        teams: 0 or 1 of each item shown, -1 for neither; int8 [n_searches, PAGE].
        n_shoppers: how many there are.

    Returns:
        int8 [n_shoppers]: -1 for the first team, 1 for the second, 0 for neither.
    """
    credit = (clicked & (teams == 1)).sum(axis=1) - (clicked & (teams == 0)).sum(axis=1)
    won = np.bincount(traffic.shopper, weights=np.sign(credit), minlength=n_shoppers)
    return np.sign(won).astype(np.int8)
