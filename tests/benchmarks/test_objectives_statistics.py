"""The bootstrap over queries and seeds, judged by enumeration, by plain loops, and by its coverage."""

import random
from itertools import product

import numpy as np
import pytest

from benchmarks.objectives.statistics import Values, difference, estimate, resampled_means


def every_draw(values: list[list[float]]) -> list[float]:
    """The mean under each of the equally likely ways to draw seeds and queries again."""
    n_seeds, n_queries = len(values), len(values[0])
    means = []
    for seeds in product(range(n_seeds), repeat=n_seeds):
        for queries in product(range(n_queries), repeat=n_queries):
            total = sum(values[seed][query] for seed in seeds for query in queries)
            means.append(total / (n_seeds * n_queries))
    return means


@pytest.mark.parametrize("shape", [(1, 4), (2, 3), (3, 3), (2, 1), (1, 1)])
def test_draws_are_distributed_as_all_possible_ones(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(3).normal(size=shape)
    exact, drawn = every_draw(values.tolist()), resampled_means(values, seed=1)
    for threshold in np.quantile(exact, np.linspace(0.02, 0.98, 25)) + 1e-9:
        expected = sum(mean <= threshold for mean in exact) / len(exact)
        assert (drawn <= threshold).mean() == pytest.approx(expected, abs=0.03)


def test_intervals_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(5)
    ours, theirs = (rng.random((3, 1)) * 0.1 + rng.random((3, 40)) for _ in range(2))
    gaps = (ours - theirs).tolist()
    loops = random.Random(0)
    means = []
    for _ in range(4000):
        seeds, queries = loops.choices(range(3), k=3), loops.choices(range(40), k=40)
        means.append(sum(gaps[seed][query] for seed in seeds for query in queries) / 120)
    means.sort()

    found = difference(ours, theirs)

    assert found.mean == pytest.approx(sum(map(sum, gaps)) / 120)
    assert (found.low, found.high) == pytest.approx((means[99], means[3899]), abs=0.01)
    one_side = min(sum(mean <= 0 for mean in means), sum(mean >= 0 for mean in means)) / len(means)
    assert found.p == pytest.approx(2 * one_side, abs=0.04)


def test_a_row_against_itself_is_exactly_nothing() -> None:
    values = np.random.default_rng(0).random((3, 50))
    found = difference(values, values)
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_a_lead_on_every_query_is_certain() -> None:
    values = np.random.default_rng(0).random((3, 50))
    found = difference(values + 0.01, values)
    assert found.low == pytest.approx(0.01)
    assert 0 < found.p < 0.001


def test_a_row_without_seeds_stands_against_each_seed() -> None:
    rng = np.random.default_rng(2)
    ours, start = rng.random((4, 30)), rng.random((1, 30))
    assert difference(ours, start) == difference(ours, np.repeat(start, 4, axis=0))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random((3, 30))
    assert estimate(values, seed=4) == estimate(values, seed=4)
    assert estimate(values, seed=4) != estimate(values, seed=5)


def trial(rng: np.random.Generator, n_seeds: int, of_seed: float, of_query: float, of_both: float) -> Values:
    """Differences whose true mean is 0."""
    seeds, queries = rng.normal(0, of_seed, (n_seeds, 1)), rng.normal(0, of_query, (1, 150))
    values: Values = seeds + queries + rng.normal(0, of_both, (n_seeds, 150))
    return values


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("spread", [(0.0, 0.15, 0.1), (0.005, 0.15, 0.15), (0.01, 0.1, 0.2)])
def test_95_of_100_intervals_hold_the_truth(n_seeds: int, spread: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(8)
    nothing = np.zeros((n_seeds, 150))
    found = [difference(trial(rng, n_seeds, *spread), nothing) for _ in range(400)]
    held = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.93 <= held <= 0.995
    # What an interval excludes has a small p, and the other way round.
    for one in found:
        if not one.low <= 0 <= one.high:
            assert one.p < 0.055
        elif one.low < 0 < one.high:
            assert one.p > 0.045
