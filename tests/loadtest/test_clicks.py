import random
from collections import Counter

import numpy as np
import pytest

from loadtest.clicks import CART_SHARE, PURCHASE_SHARE, clicked_positions, event_types

N_DRAWS = 20_000


def test_clicks_fall_with_the_position_as_its_examination() -> None:
    rng = random.Random(0)
    clicks = Counter(position for _ in range(N_DRAWS) for position in clicked_positions(8, 0.4, rng))
    shares = np.array([clicks[position] / N_DRAWS for position in range(1, 9)])
    np.testing.assert_allclose(shares, 0.4 / np.arange(1, 9), atol=4 * 0.5 / N_DRAWS**0.5)


@pytest.mark.parametrize(("n_items", "attraction"), [(0, 1.0), (5, 0.0)])
def test_nothing_shown_or_nothing_attractive_is_not_clicked(n_items: int, attraction: float) -> None:
    assert clicked_positions(n_items, attraction, random.Random(0)) == []


def test_carts_follow_clicks_and_purchases_follow_carts() -> None:
    rng = random.Random(0)
    done = Counter(tuple(event_types(rng)) for _ in range(N_DRAWS))
    assert set(done) == {("click",), ("click", "cart"), ("click", "cart", "purchase")}
    bought = done["click", "cart", "purchase"]
    carts = bought + done["click", "cart"]
    assert carts / N_DRAWS == pytest.approx(CART_SHARE, abs=0.02)
    assert bought / carts == pytest.approx(PURCHASE_SHARE, abs=0.04)
