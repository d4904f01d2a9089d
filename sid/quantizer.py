"""Residual quantisation: an item vector becomes the codes of its SID, one level after the other."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 8192  # vectors per matrix product; bounds the [BLOCK, V] distance matrix


@dataclass(frozen=True)
class ResidualQuantizer:
    """Codebooks of RQ-KMeans: level l quantises what levels 0..l−1 left over.

    Attributes:
        codebooks: L arrays, float32 [V_l, d].
    """

    codebooks: tuple[NDArray[np.float32], ...]

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Centroids per level."""
        return tuple(len(codebook) for codebook in self.codebooks)

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """Assign SIDs greedily: at each level the centroid nearest to the residual.

        Args:
            vectors: float32 [n, d].

        Returns:
            int32 [n, L].

        Raises:
            ValueError: if the dimension differs from the codebooks'.
        """
        dim = self.codebooks[0].shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != dim:
            raise ValueError(f"vectors have shape {vectors.shape}, the codebooks need [n, {dim}]")
        codes = np.empty((len(vectors), len(self.codebooks)), dtype=np.int32)
        for start in range(0, len(vectors), BLOCK):
            residual = vectors[start : start + BLOCK].astype(np.float32, copy=True)
            for level, codebook in enumerate(self.codebooks):
                # |r − c|² without |r|², which is the same for every centroid of a row.
                distance = (codebook * codebook).sum(axis=1) - 2.0 * (residual @ codebook.T)
                nearest = distance.argmin(axis=1)
                codes[start : start + BLOCK, level] = nearest
                residual -= codebook[nearest]
        return codes

    def save(self, path: Path) -> None:
        """Write the codebooks as an ``.npz``."""
        arrays = {f"level_{level}": codebook for level, codebook in enumerate(self.codebooks)}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "ResidualQuantizer":
        """Read codebooks written by :meth:`save`; never unpickles."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(tuple(arrays[f"level_{level}"] for level in range(len(arrays.files))))
