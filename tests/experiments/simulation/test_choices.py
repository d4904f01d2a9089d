import numpy as np
import pytest
from scipy import integrate

from experiments.simulation.choices import CART, N_COINS, PURCHASE, choose
from experiments.simulation.known_shop import NO_ITEM, PAGE
from experiments.simulation.shoppers import EAGERNESS, click_through

ATTRACTION = (0.10, 0.25, 0.45, 0.70)  # of grades 0..3
N = 60_000


def coins(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((N, PAGE, N_COINS), dtype=np.float32)


def agrees(share: float, chance: float, n: int) -> bool:
    """Within four standard deviations of what chance makes of it."""
    return abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / n)


@pytest.mark.parametrize("grade", range(4))
@pytest.mark.parametrize("eagerness", [0.25, 0.8])
def test_choices_are_as_frequent_as_the_model_says(grade: int, eagerness: float) -> None:
    choices = choose(np.full((N, PAGE), grade, np.int8), np.full(N, eagerness), coins())
    for place in range(PAGE):
        chance = eagerness * ATTRACTION[grade] / (place + 1)
        assert agrees(choices.clicked[:, place].mean(), chance, N)
    n_clicked, n_carted = choices.clicked.sum(), choices.carted.sum()
    assert agrees(choices.carted[choices.clicked].mean(), CART[grade], n_clicked)
    assert agrees(choices.bought[choices.carted].mean(), PURCHASE, n_carted)
    assert not (choices.carted & ~choices.clicked).any()
    assert not (choices.bought & ~choices.carted).any()


def test_places_are_chosen_independently() -> None:
    clicked = choose(np.full((N, PAGE), 3, np.int8), np.full(N, 1.0), coins()).clicked
    both = 0.7 * 0.35
    assert agrees((clicked[:, 0] & clicked[:, 1]).mean(), both, N)


def test_where_no_item_is_nothing_is_chosen() -> None:
    choices = choose(np.full((N, PAGE), NO_ITEM, np.int8), np.full(N, 100.0), coins())
    assert not choices.clicked.any()
    assert not choices.carted.any()


def test_nobody_clicks_more_than_always() -> None:
    clicked = choose(np.full((N, PAGE), 3, np.int8), np.full(N, 100.0), coins()).clicked
    assert clicked[:, 0].all()
    assert agrees(clicked[:, 1].mean(), 0.5, N)


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_the_click_through_rate_is_the_integral_over_shoppers(factor: float) -> None:
    grades = np.array([[3, 0, 2, *[1] * (PAGE - 3)], [3, *[NO_ITEM] * (PAGE - 1)]], np.int8)
    attraction = np.array([*ATTRACTION, 0.0])[grades] / np.arange(1, PAGE + 1)

    def clicks(eagerness: float, page: int) -> float:
        miss = np.prod(1 - np.minimum(factor * eagerness * attraction[page], 1))
        return float((1 - miss) * EAGERNESS.pdf(eagerness))

    by_integral = [integrate.quad(clicks, 0, 1, args=(page,))[0] for page in (0, 1)]
    np.testing.assert_allclose(click_through(grades, factor), by_integral, rtol=1e-4)
