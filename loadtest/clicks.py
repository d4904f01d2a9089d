"""The position-based click model: an item is clicked when it is looked at and attracts.

Looking depends on the position alone, attracting on the item alone (Craswell et al., WSDM 2008). The load
test knows no relevance, so every item attracts alike.
"""

import random
from collections.abc import Iterator

CART_SHARE = 0.2
"""Share of the clicks after which the item is put into the cart."""

PURCHASE_SHARE = 0.4
"""Share of the items in carts that are bought."""


def examination(position: int) -> float:
    """Chance that the item at a position, from 1, is looked at."""
    return 1 / position


def clicked_positions(n_items: int, attraction: float, rng: random.Random) -> list[int]:
    """Draw which items of an answer are clicked.

    Args:
        n_items: of the answer.
        attraction: chance that an item which is looked at is clicked, 0..1.
        rng: that draws.

    Returns:
        Positions from 1, ascending.
    """
    positions = range(1, n_items + 1)
    return [position for position in positions if rng.random() < attraction * examination(position)]


def event_types(rng: random.Random) -> Iterator[str]:
    """Draw what a shopper does with an item: always a click, sometimes a cart after it, and a purchase."""
    yield "click"
    if rng.random() < CART_SHARE:
        yield "cart"
        if rng.random() < PURCHASE_SHARE:
            yield "purchase"
