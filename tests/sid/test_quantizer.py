"""Greedy residual encoding, judged by brute force in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sid import ResidualQuantizer, SidError
from sid import quantizer as module

TIE = 1e-5  # squared distances closer than this are equal in float32


def drawn(
    seed: int, n: int, sizes: tuple[int, ...], dim: int
) -> tuple[ResidualQuantizer, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(size, dim)).astype(np.float32) for size in sizes]
    return ResidualQuantizer(tuple(books)), rng.normal(size=(n, dim)).astype(np.float32)


def with_biases(quantizer: ResidualQuantizer, seed: int = 0) -> ResidualQuantizer:
    rng = np.random.default_rng(seed)
    biases = [rng.exponential(size=size).astype(np.float32) for size in quantizer.codebook_sizes]
    return ResidualQuantizer(quantizer.codebooks, tuple(biases))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 40),
    st.lists(st.integers(1, 9), min_size=1),
    st.integers(1, 8),
    st.booleans(),
)
def test_every_level_takes_the_nearest_centroid(
    seed: int, n: int, sizes: list[int], dim: int, biased: bool
) -> None:
    quantizer, vectors = drawn(seed, n, tuple(sizes), dim)
    if biased:
        quantizer = with_biases(quantizer, seed)

    codes = quantizer.encode(vectors)

    assert codes.shape == (n, len(sizes))
    assert codes.dtype == np.int32
    residuals = vectors.astype(np.float64)
    for level, codebook in enumerate(quantizer.codebooks):
        distances = np.square(residuals[:, None] - codebook[None].astype(np.float64)).sum(axis=-1)
        distances += quantizer.biases[level] if biased else 0
        chosen = np.take_along_axis(distances, codes[:, level, None].astype(int), axis=1)
        assert (chosen[:, 0] <= distances.min(axis=1, initial=np.inf) + TIE).all()
        residuals -= codebook[codes[:, level]]


@given(st.integers(0, 2**32 - 1))
def test_blocks_do_not_change_the_codes(seed: int) -> None:
    quantizer, vectors = drawn(seed, 23, (7, 5), 3)
    expected = quantizer.encode(vectors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_DISTANCES", 20)
        np.testing.assert_array_equal(quantizer.encode(vectors), expected)


def test_the_first_of_equal_centroids_wins() -> None:
    codebook = np.array([[1, 0], [0, 1], [1, 0]], np.float32)
    quantizer = ResidualQuantizer((codebook,))
    assert quantizer.encode(np.array([[1, 0], [0, 0]], np.float32)).tolist() == [[0], [0]]


def test_biases_of_zero_change_nothing() -> None:
    quantizer, vectors = drawn(4, 50, (6, 5), 3)
    zeros = ResidualQuantizer(quantizer.codebooks, (np.zeros(6, np.float32), np.zeros(5, np.float32)))
    np.testing.assert_array_equal(zeros.encode(vectors), quantizer.encode(vectors))


def test_encoding_leaves_its_input_alone() -> None:
    quantizer, vectors = drawn(0, 5, (4, 4), 3)
    before = vectors.copy()
    quantizer.encode(vectors)
    np.testing.assert_array_equal(vectors, before)


def test_decoding_sums_the_centroids() -> None:
    quantizer, vectors = drawn(1, 20, (6, 6, 6), 4)
    codes = quantizer.encode(vectors)
    expected = [
        sum(book[code].astype(np.float64) for book, code in zip(quantizer.codebooks, sid, strict=True))
        for sid in codes
    ]
    np.testing.assert_allclose(quantizer.decode(codes), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 3), np.float32), r"shape \(2, 3\), the codebooks need \[n, 4\]"),
        (np.zeros(4, np.float32), r"shape \(4,\)"),
        (np.full((1, 4), np.nan, np.float32), "not finite"),
        (np.full((1, 4), np.inf, np.float32), "not finite"),
    ],
)
def test_vectors_that_cannot_be_placed_are_refused(vectors: NDArray[np.float32], message: str) -> None:
    quantizer, _ = drawn(0, 0, (3,), 4)
    with pytest.raises(ValueError, match=message):
        quantizer.encode(vectors)


@pytest.mark.parametrize("shapes", [[], [(0, 4)], [(3, 4), (3, 5)], [(3, 0)], [(3,)]])
def test_codebooks_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="codebook"):
        ResidualQuantizer(tuple(np.zeros(shape, np.float32) for shape in shapes))


@pytest.mark.parametrize("shapes", [[(3,)], [(3,), (2,)], [(3,), (4,), (4,)], [(3,), (4, 1)]])
def test_biases_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]]) -> None:
    codebooks = (np.zeros((3, 2), np.float32), np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match="each centroid needs one bias"):
        ResidualQuantizer(codebooks, tuple(np.zeros(shape, np.float32) for shape in shapes))


@pytest.mark.parametrize("biased", [False, True])
def test_the_file_keeps_the_quantiser(tmp_path: Path, biased: bool) -> None:
    quantizer, vectors = drawn(2, 30, (5, 12, 3), 4)
    quantizer = with_biases(quantizer) if biased else quantizer
    quantizer.save(tmp_path / "quantizer.npz")
    loaded = ResidualQuantizer.load(tmp_path / "quantizer.npz")
    assert loaded.codebook_sizes == (5, 12, 3)
    assert len(loaded.biases) == (3 if biased else 0)
    np.testing.assert_array_equal(loaded.encode(vectors), quantizer.encode(vectors))


def test_a_file_from_before_biases_is_read(tmp_path: Path) -> None:
    quantizer, vectors = drawn(3, 30, (5, 4), 4)
    np.savez(tmp_path / "quantizer.npz", level_0=quantizer.codebooks[0], level_1=quantizer.codebooks[1])
    loaded = ResidualQuantizer.load(tmp_path / "quantizer.npz")
    np.testing.assert_array_equal(loaded.encode(vectors), quantizer.encode(vectors))


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"level_1": np.zeros((2, 2))},
        {"level_0": np.zeros(3)},
        {"bias_0": np.zeros(3)},
        {"level_0": np.zeros((3, 2)), "bias_0": np.zeros(2)},
        {"level_0": np.zeros((3, 2)), "bias_1": np.zeros(3)},
    ],
)
def test_a_file_without_codebooks_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "quantizer.npz"
    np.savez(path, **arrays)
    with pytest.raises(SidError, match="holds no codebooks"):
        ResidualQuantizer.load(path)
