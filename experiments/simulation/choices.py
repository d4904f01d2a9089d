"""What a shopper does with a page: looks, clicks, puts into the cart, buys.

The position-based click model (Craswell et al., WSDM 2008) of the synthetic shop at its noisiest: the item at
position i is looked at with chance 1 / i, and who looks clicks with a chance that its true relevance decides,
times how readily this shopper clicks at all. Irrelevant items are clicked now and then, perfect ones missed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.shop.clicks import attraction, examination

NOISE = 1.0
N_COINS = 3  # per place of a page: for the click, the cart, the purchase

CART = np.array([0.02, 0.05, 0.15, 0.30])
"""Chance that an item that was clicked is put into the cart, by its true relevance 0..3."""

PURCHASE = 0.4
"""Chance that what is in the cart is bought."""


@dataclass(frozen=True)
class Choices:
    """What was done with the items of pages; each is bool [..., PAGE].

    Attributes:
        clicked: items.
        carted: of those clicked.
        bought: of those carted.
    """

    clicked: NDArray[np.bool_]
    carted: NDArray[np.bool_]
    bought: NDArray[np.bool_]


def click_chance(grades: NDArray[np.int8], eagerness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance that each item of some pages is clicked.

    Args:
        grades: true relevance 0..3, below 0 where no item is; int8 [..., PAGE].
        eagerness: of whoever sees the page, float64 [...]; above 1 a chance may reach 1.

    Returns:
        float64 [..., PAGE].
    """
    looked = examination(NOISE)[: grades.shape[-1]] * (grades >= 0)
    chance: NDArray[np.float64] = np.minimum(eagerness[..., None] * attraction(NOISE)[grades], 1.0) * looked
    return chance


def choose(grades: NDArray[np.int8], eagerness: NDArray[np.float64], coins: NDArray[np.float32]) -> Choices:
    """Let shoppers choose.

    Args:
        grades: as in :func:`click_chance`.
        eagerness: likewise.
        coins: uniform in 0..1, float32 [..., PAGE, N_COINS]; equal ones give equal choices.
    """
    clicked = coins[..., 0] < click_chance(grades, eagerness)
    carted = clicked & (coins[..., 1] < CART[grades])
    return Choices(clicked, carted, carted & (coins[..., 2] < PURCHASE))
