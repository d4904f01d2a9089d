"""Whole experiments drawn from recorded answers, as many as one likes."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from experiments.simulation.choices import choose
from experiments.simulation.known_shop import KnownShop
from experiments.simulation.recording import Recorded
from experiments.simulation.replay import Columns, of_shoppers, users
from experiments.simulation.shoppers import Days, Shoppers


@dataclass(frozen=True)
class Pair:
    """What an experiment compares.

    Attributes:
        shop: what shoppers want.
        control: answers of the first variant.
        treatment: of the second.
        effect: those who are shown the second click more readily, by this factor minus 1.
    """

    shop: KnownShop
    control: Recorded
    treatment: Recorded
    effect: float = 0.0


def draw_users(pair: Pair, days: Days, *, with_past: bool) -> pa.Table:
    """Draw one experiment: shoppers, their searches, their variations, their choices.

    Each shopper's variation is a fair coin. So is the service's hash of the shopper's id, which
    ``tests/service/test_assignment_laws.py`` holds to its shares.

    Args:
        pair: what is compared.
        days: of the experiment; its seed decides everything.
        with_past: let them come for as many days before, when all see the control.

    Returns:
        As :func:`experiments.simulation.replay.users`.
    """
    shoppers = Shoppers.draw(days)
    variation = np.random.default_rng([days.seed, 2]).integers(0, 2, days.shoppers)
    before = None
    if with_past:
        before = _columns(pair, shoppers, days, days.n_days, np.zeros_like(variation))
    return users(_columns(pair, shoppers, days, 0, variation), before, variation)


def _columns(
    pair: Pair, shoppers: Shoppers, days: Days, n_days_earlier: int, variation: np.ndarray
) -> Columns:
    traffic = shoppers.traffic(pair.shop.frequency, days.first - timedelta(days=n_days_earlier))
    treated = variation[traffic.shopper] == 1
    pages, grades = (
        np.where(treated[:, None], treatment[traffic.query], control[traffic.query])
        for control, treatment in (
            (pair.control.pages, pair.treatment.pages),
            (pair.control.grades, pair.treatment.grades),
        )
    )
    choices = choose(grades, traffic.eagerness * (1 + pair.effect * treated), traffic.coins)
    return of_shoppers(traffic, choices, pair.shop.prices[pages], days.shoppers)
