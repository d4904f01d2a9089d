"""Who the shoppers are, and when they search for what."""

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.simulation.choices import N_COINS, click_chance
from experiments.simulation.known_shop import PAGE

EAGERNESS = stats.beta(2, 6)
"""How readily shoppers click, 1 / 4 in the mean. Some click thrice as often as others, so that searches of
one shopper are alike, as they are in a shop."""

N_QUANTILES = 1_000  # of eagerness, in expectations


@dataclass(frozen=True)
class Days:
    """When and how much is searched.

    Attributes:
        shoppers: how many there are; some will not come.
        searches_per_day: of the mean shopper.
        first: the first day.
        n_days: how many.
        seed: of the shoppers and all that they do.
    """

    shoppers: int
    searches_per_day: float
    first: date
    n_days: int
    seed: int


@dataclass(frozen=True)
class Traffic:
    """Searches in the order of time, before anything is shown.

    Attributes:
        shopper: who searches, int32 [n_searches].
        query: for what, int32 [n_searches], a row of the shop's queries.
        day: when, in days since the first midnight, float64 [n_searches].
        eagerness: of the shopper, float64 [n_searches].
        coins: that decide what the shopper will choose, float32 [n_searches, PAGE, N_COINS].
    """

    shopper: NDArray[np.int32]
    query: NDArray[np.int32]
    day: NDArray[np.float64]
    eagerness: NDArray[np.float64]
    coins: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.shopper)


@dataclass(frozen=True)
class Shoppers:
    """A population.

    Attributes:
        eagerness: how readily each clicks, float64 [n_shoppers].
        searches: of each, in expectation, float64 [n_shoppers].
        n_days: in which they make so many.
        seed: of all that they do.
    """

    eagerness: NDArray[np.float64]
    searches: NDArray[np.float64]
    n_days: int
    seed: int

    @classmethod
    def draw(cls, days: Days) -> "Shoppers":
        """Draw a population; some search much more than others (exponential). Its seed decides all of it."""
        random = np.random.default_rng([days.seed, 0])
        eagerness = EAGERNESS.rvs(days.shoppers, random_state=random)
        searches = random.exponential(days.searches_per_day * days.n_days, days.shoppers)
        return cls(eagerness, searches, days.n_days, days.seed)

    def traffic(self, frequency: NDArray[np.float64], first: date) -> Traffic:
        """Draw the searches of some days.

        Args:
            frequency: share of each query, float64 [n_queries].
            first: the first day; from another one on the same shoppers make other searches.
        """
        random = np.random.default_rng([self.seed, 1, first.toordinal()])
        n_searches = random.poisson(self.searches)
        shopper = np.repeat(np.arange(len(n_searches), dtype=np.int32), n_searches)
        day = random.uniform(0, self.n_days, len(shopper))
        order = np.argsort(day, kind="stable")
        shopper = shopper[order]
        return Traffic(
            shopper,
            random.choice(len(frequency), len(shopper), p=frequency).astype(np.int32),
            day[order],
            self.eagerness[shopper],
            random.random((len(shopper), PAGE, N_COINS), dtype=np.float32),
        )


def click_through(grades: NDArray[np.int8], eagerness_factor: float = 1.0) -> NDArray[np.float64]:
    """Share of the searches in which shoppers click something, in expectation over shoppers.

    Args:
        grades: of pages, int8 [n_pages, PAGE].
        eagerness_factor: by which everybody clicks more readily.

    Returns:
        By page, float64 [n_pages].
    """
    middles = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    found = np.zeros(len(grades))
    for eagerness in eagerness_factor * EAGERNESS.ppf(middles):
        chance = click_chance(grades, np.full(len(grades), eagerness))
        found += 1.0 - np.prod(1.0 - chance, axis=1)
    mean: NDArray[np.float64] = found / N_QUANTILES
    return mean
