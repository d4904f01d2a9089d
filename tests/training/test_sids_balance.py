"""Balanced codebooks: within capacity, at the least cost, repeatable, and sane on catalogues of any size."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy

from sid import ResidualQuantizer
from sid.quantizer import nearest_centroids
from training.sids import balance as module
from training.sids.balance import SLACK, balance, share_out
from training.sids.kmeans import train_quantizer

SEEDS = st.integers(0, 2**32 - 1)


def skewed(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors, two thirds of them in one dense spot: k-means gives that spot few centroids."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)) * np.where(rng.random(n) < 2 / 3, 0.03, 0.6)[:, None]
    vectors[:, 0] += 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def trained(vectors: NDArray[np.float32], sizes: tuple[int, ...], *, balanced: bool) -> ResidualQuantizer:
    return train_quantizer(vectors, sizes, 0, lambda: None, balanced=balanced)


def largest(codes: NDArray[np.integer]) -> int:
    return int(np.bincount(codes).max())


def distances(vectors: NDArray[np.float32], codebook: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.square(vectors[:, None].astype(np.float64) - codebook[None]).sum(axis=-1)


@settings(max_examples=100)
@given(SEEDS, st.integers(2, 9), st.integers(1, 60), st.floats(SLACK, 4), st.integers(1, 6))
def test_no_code_takes_more_than_its_capacity(seed: int, size: int, n: int, slack: float, dim: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    codebook = rng.normal(size=(size, dim)).astype(np.float32)
    capacity = math.ceil(slack * n / size)

    codes, prices = share_out(vectors, codebook, np.zeros(size, np.float32), capacity, rounds=5000)

    assert codes.shape == (n,)
    assert codes.min() >= 0
    assert largest(codes) <= capacity
    assert (prices >= 0).all()
    total = distances(vectors, codebook) + prices
    chosen = np.take_along_axis(total, codes[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, total.min(axis=1), atol=1e-3, rtol=1e-5)


@settings(max_examples=100)
@given(SEEDS, st.integers(2, 6), st.integers(6, 40))
def test_sharing_out_costs_no_more_than_any_other_way(seed: int, size: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    codebook = rng.normal(size=(size, 4)).astype(np.float32)

    codes, _ = share_out(
        vectors, codebook, np.zeros(size, np.float32), math.ceil(1.5 * n / size), rounds=5000
    )

    costs = distances(vectors, codebook)
    seats = np.repeat(np.arange(size), np.bincount(codes, minlength=size))  # any assignment of these sizes
    rows, columns = linear_sum_assignment(costs[:, seats])
    assert costs[np.arange(n), codes].sum() <= costs[rows, seats[columns]].sum() + 1e-3


def test_a_level_that_fits_is_left_alone() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    codes, prices = share_out(vectors, vectors[:4], np.zeros(4, np.float32), 40, rounds=10)
    assert not prices.any()
    np.testing.assert_array_equal(codes, nearest_centroids(vectors, vectors[:4]))


def test_every_level_keeps_within_capacity_where_plain_k_means_does_not() -> None:
    vectors, sizes = skewed(3000, 8), (16, 16, 16)
    plain, even = (trained(vectors, sizes, balanced=balanced).encode(vectors) for balanced in (False, True))
    capacity = math.ceil(SLACK * len(vectors) / 16)
    assert max(largest(codes) for codes in plain.T) > 2 * capacity
    assert max(largest(codes) for codes in even.T) <= 1.02 * capacity  # float32 rounds a few items across
    entropies = [sum(entropy(np.bincount(codes)) for codes in of.T) for of in (plain, even)]
    assert entropies[1] > entropies[0] + 1


def test_balance_costs_little_reconstruction() -> None:
    vectors = skewed(2000, 8)
    plain, even = (
        np.square(vectors - quantizer.decode(quantizer.encode(vectors))).sum()
        for quantizer in (trained(vectors, (16, 16), balanced=balanced) for balanced in (False, True))
    )
    assert even <= 1.25 * plain


def test_a_sample_balances_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOVING_POINTS", 32)
    monkeypatch.setattr(module, "PRICING_POINTS", 96)
    vectors = skewed(6000, 8)
    codes = trained(vectors, (16,), balanced=True).encode(vectors)[:, 0]
    assert largest(codes) <= 1.4 * SLACK * len(vectors) / 16


def test_equal_seeds_give_equal_codebooks() -> None:
    vectors = skewed(500, 6)
    first, again = (trained(vectors, (8, 8), balanced=True) for _ in range(2))
    for one, other in zip(first.codebooks + first.biases, again.codebooks + again.biases, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_given_is_left_alone() -> None:
    vectors, codebook = skewed(200, 4), skewed(8, 4, seed=1)
    before = vectors.copy(), codebook.copy()
    balance(vectors, codebook, 0)
    np.testing.assert_array_equal(vectors, before[0])
    np.testing.assert_array_equal(codebook, before[1])


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 3), st.data())
def test_few_items_are_their_own_centroids(n: int, dim: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-2, 2), min_size=n * dim, max_size=n * dim))
    vectors = np.array(values, dtype=np.float32).reshape(n, dim)
    quantizer = trained(vectors, (12, 12), balanced=True)
    np.testing.assert_array_equal(quantizer.decode(quantizer.encode(vectors)), vectors)


@pytest.mark.parametrize("sizes", [(1,), (1, 2), (2, 1), (3, 3, 3)])
def test_equal_items_do_not_start_a_price_war(sizes: tuple[int, ...]) -> None:
    vectors = np.concatenate([np.tile([[1.0, 0.0]], (900, 1)), skewed(100, 2)]).astype(np.float32)
    quantizer = trained(vectors, sizes, balanced=True)
    codes = quantizer.encode(vectors)
    assert len(np.unique(codes[:900], axis=0)) == 1
    assert all(bias.max() <= 4 for bias in quantizer.biases)  # the greatest squared distance of unit vectors
