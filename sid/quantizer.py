"""Residual quantisation: an item embedding becomes the codes of its SID, one level after the other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sid.arrays import read_arrays
from sid.errors import SidError

Vectors = NDArray[np.float32]

MAX_DISTANCES = 2**24  # entries of one distance matrix, 64 MiB


@dataclass(frozen=True)
class ResidualQuantizer:
    """Codebooks of RQ-KMeans: level l quantises what levels 0..l−1 left over.

    Attributes:
        codebooks: L ≥ 1 arrays, float32 [V_l, d].
        biases: what is added to the squared distance from each centroid, L arrays, float32 [V_l]; none where
            the codebooks were trained without balance.
    """

    codebooks: tuple[Vectors, ...]
    biases: tuple[Vectors, ...] = ()

    def __post_init__(self) -> None:
        if not self.codebooks:
            raise ValueError("a quantiser needs one codebook at least")
        shapes = [codebook.shape for codebook in self.codebooks]
        if any(len(shape) != 2 or 0 in shape or shape[1] != shapes[0][-1] for shape in shapes):
            raise ValueError(f"codebooks have shapes {shapes}, expected [V_l, d] with one d and no 0")
        if self.biases and [bias.shape for bias in self.biases] != [shape[:1] for shape in shapes]:
            given = [bias.shape for bias in self.biases]
            raise ValueError(f"biases have shapes {given}, codebooks {shapes}; each centroid needs one bias")

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Centroids per level."""
        return tuple(len(codebook) for codebook in self.codebooks)

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        return int(self.codebooks[0].shape[1])

    def encode(self, vectors: Vectors) -> NDArray[np.int32]:
        """Assign SIDs greedily: at each level the centroid nearest to the residual, biases included.

        Args:
            vectors: float32 [n, d], finite.

        Returns:
            int32 [n, L].

        Raises:
            ValueError: if the dimension differs from the codebooks' or a value is not finite.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ValueError(f"vectors have shape {vectors.shape}, the codebooks need [n, {self.dim}]")
        if not np.isfinite(vectors).all():
            raise ValueError("vectors hold a value that is not finite, which is near to no centroid")
        residuals = vectors.astype(np.float32, copy=True)
        codes = np.empty((len(vectors), len(self.codebooks)), dtype=np.int32)
        for level, codebook in enumerate(self.codebooks):
            bias = self.biases[level] if self.biases else None
            codes[:, level] = nearest_centroids(residuals, codebook, bias)
            residuals -= codebook[codes[:, level]]
        return codes

    def decode(self, codes: NDArray[np.integer]) -> Vectors:
        """Sum the centroids of each SID: int [n, L] → float32 [n, d], the embedding it stands for."""
        vectors = np.zeros((len(codes), self.dim), dtype=np.float32)
        for level, codebook in enumerate(self.codebooks):
            vectors += codebook[codes[:, level]]
        return vectors

    def save(self, path: Path) -> None:
        """Write codebooks and biases as an ``.npz``."""
        arrays = {f"level_{level}": codebook for level, codebook in enumerate(self.codebooks)}
        arrays |= {f"bias_{level}": bias for level, bias in enumerate(self.biases)}
        np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy types the flag allow_pickle into **kwds

    @classmethod
    def load(cls, path: Path) -> "ResidualQuantizer":
        """Read what :meth:`save` wrote, with biases or without; never unpickles.

        Raises:
            SidError: if the file is missing, damaged, or holds something else.
        """
        arrays = read_arrays(path)
        n_biases = sum(name.startswith("bias_") for name in arrays)
        try:
            return cls(
                tuple(arrays[f"level_{level}"] for level in range(len(arrays) - n_biases)),
                tuple(arrays[f"bias_{level}"] for level in range(n_biases)),
            )
        except (KeyError, ValueError) as error:
            raise SidError(f"{path} holds no codebooks ({error}); write it with 'radsearch sids'") from error


def nearest_centroids(vectors: Vectors, codebook: Vectors, bias: Vectors | None = None) -> NDArray[np.int32]:
    """Find each vector's nearest centroid, the one with the least |x − c|² + bias; the first of equals.

    Without a bias the centroids' cells are a Voronoi diagram, with one a power diagram, whose cells can hold
    any wanted numbers of vectors (Aurenhammer, Hoffmann, Aronov: "Minkowski-type theorems and least-squares
    clustering", Algorithmica 20, 1998).

    Args:
        vectors: float32 [n, d].
        codebook: float32 [V, d].
        bias: float32 [V]; None for zeros.

    Returns:
        int32 [n].
    """
    nearest = np.empty(len(vectors), dtype=np.int32)
    norms = np.einsum("vd,vd->v", codebook, codebook)
    if bias is not None:
        norms = norms + bias
    block = max(1, MAX_DISTANCES // len(codebook))
    for start in range(0, len(vectors), block):
        # |x − c|² without |x|², which is the same for every centroid of a row.
        distances = norms - 2.0 * (vectors[start : start + block] @ codebook.T)
        nearest[start : start + block] = distances.argmin(axis=1)
    return nearest
