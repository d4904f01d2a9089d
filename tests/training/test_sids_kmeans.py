"""RQ-KMeans: as good as another k-means, repeatable, and sane on catalogues of any size."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from training.sids.kmeans import train_quantizer


def clustered(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(8, dim))
    vectors = centres[rng.integers(0, 8, n)] + 0.3 * rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def nothing() -> None:
    """Watch no progress."""


def error(vectors: NDArray[np.float32], sizes: tuple[int, ...], seed: int = 0) -> float:
    quantizer = train_quantizer(vectors, sizes, seed, nothing)
    return float(np.square(vectors - quantizer.decode(quantizer.encode(vectors))).sum())


def test_one_level_is_as_good_as_another_k_means() -> None:
    vectors = clustered(600, 8)
    other = KMeans(16, n_init=1, random_state=0).fit(vectors)
    assert error(vectors, (16,)) <= 1.1 * other.inertia_


def test_every_level_lowers_the_error() -> None:
    vectors = clustered(500, 8)
    errors = [error(vectors, (8,) * levels) for levels in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.6 * errors[0]


def test_codebooks_have_the_asked_sizes_and_type() -> None:
    quantizer = train_quantizer(clustered(200, 4), (32, 3, 16), 0, nothing)
    assert quantizer.codebook_sizes == (32, 3, 16)
    assert all(codebook.dtype == np.float32 for codebook in quantizer.codebooks)


def test_equal_seeds_give_equal_codebooks_and_others_do_not() -> None:
    vectors = clustered(300, 6)
    first, again, other = (train_quantizer(vectors, (8, 8), seed, nothing) for seed in (1, 1, 2))
    for codebook, repeated in zip(first.codebooks, again.codebooks, strict=True):
        np.testing.assert_array_equal(codebook, repeated)
    assert not np.array_equal(first.codebooks[0], other.codebooks[0])


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 3), st.data())
def test_fewer_items_than_centroids_are_their_own_centroids(n: int, dim: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-2, 2), min_size=n * dim, max_size=n * dim))
    vectors = np.array(values, dtype=np.float32).reshape(n, dim)
    distinct = np.unique(vectors, axis=0)

    quantizer = train_quantizer(vectors, (12, 12), 0, nothing)

    assert quantizer.codebook_sizes == (len(distinct), 1)
    codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(quantizer.decode(codes), vectors)
    assert len(np.unique(codes, axis=0)) == len(distinct)


def test_many_copies_of_few_items_need_few_centroids() -> None:
    vectors = np.repeat(clustered(5, 4), 100, axis=0)
    quantizer = train_quantizer(vectors, (64, 64), 0, nothing)
    assert quantizer.codebook_sizes == (5, 1)


def test_small_catalogues_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    train_quantizer(clustered(40, 4), (32, 32), 0, nothing)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_each_level_is_announced() -> None:
    levels: list[int] = []
    announce: Callable[[], None] = lambda: levels.append(1)  # noqa: E731
    train_quantizer(clustered(40, 4), (4, 4, 4), 0, announce)
    assert len(levels) == 3


def test_the_embeddings_are_left_alone() -> None:
    vectors = clustered(50, 4)
    before = vectors.copy()
    train_quantizer(vectors, (4, 4), 0, nothing)
    np.testing.assert_array_equal(vectors, before)
