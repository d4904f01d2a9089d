"""RQ-KMeans: residual k-means by faiss, one codebook after the other."""

from collections.abc import Callable, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from sid.quantizer import ResidualQuantizer, nearest_centroids
from training.sids.balance import balance

ITERATIONS = 25
MAX_POINTS_PER_CENTROID = 1024  # faiss trains on a seeded sample above that; more moves centroids very little

Vectors = NDArray[np.float32]


def train_quantizer(
    embeddings: Vectors,
    codebook_sizes: Sequence[int],
    seed: int,
    on_level: Callable[[], None],
    *,
    balanced: bool = False,
) -> ResidualQuantizer:
    """Train the codebooks of all levels.

    A level with no more distinct residuals than asked-for centroids gets exactly these as its codebook, which
    is then smaller than asked for: a catalogue of 10 items has 10 centroids at most.

    Args:
        embeddings: float32 [n_items, d], at least one item.
        codebook_sizes: centroids per level.
        seed: of faiss's initialisation and of sampling; equal seeds give equal codebooks on one machine.
        on_level: called after each level.
        balanced: whether no code may take more than its share of the items, see
            :func:`training.sids.balance.balance`.
    """
    residuals = embeddings.astype(np.float32, copy=True)
    codebooks, biases = [], []
    for level, size in enumerate(codebook_sizes):
        codebook = _train_codebook(residuals, size, seed + level)
        bias = np.zeros(len(codebook), dtype=np.float32)
        if balanced:
            codebook, bias = balance(residuals, codebook, seed + level)
        residuals -= codebook[nearest_centroids(residuals, codebook, bias)]
        codebooks.append(codebook)
        biases.append(bias)
        on_level()
    return ResidualQuantizer(tuple(codebooks), tuple(biases) if balanced else ())


def _train_codebook(vectors: Vectors, size: int, seed: int) -> Vectors:
    distinct = _distinct(vectors, at_most=size)
    if len(distinct) <= size:
        return distinct
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        size,
        niter=ITERATIONS,
        seed=seed,
        gpu=faiss.get_num_gpus() > 0,
        min_points_per_centroid=1,  # below 39 faiss warns on the process's stderr; small shops are welcome
        max_points_per_centroid=MAX_POINTS_PER_CENTROID,
    )
    kmeans.train(np.ascontiguousarray(vectors))
    return np.ascontiguousarray(kmeans.centroids, dtype=np.float32)


def _distinct(vectors: Vectors, at_most: int) -> Vectors:
    """Distinct rows in order of first appearance, at most one more than ``at_most``."""
    first_rows: dict[bytes, int] = {}
    for row, vector in enumerate(vectors):
        first_rows.setdefault((vector + 0.0).tobytes(), row)  # + 0.0 makes −0.0 the same number as 0.0
        if len(first_rows) > at_most:
            break
    return vectors[list(first_rows.values())]
