"""A bundle directory, read and checked: one model, and where its catalogue lies."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.tokenizer import QueryTokenizer
from sid import OrderingWeights, ResidualQuantizer
from sid.manifest import BundleError, Manifest

QUANTIZER, ITEM_HEAD, EMBEDDER = "quantizer.npz", "item_head.npy", "embedder/"


@dataclass(frozen=True)
class Bundle:
    """What ``radsearch export`` wrote, but for the catalogue: that is an :class:`service.epoch.Epoch`.

    Attributes:
        path: the directory.
        manifest: its hashes checked.
        tokenizer: turns queries into prompts.
        ordering: the weights of what items are scored by.
        quantizer: turns the embedding of an item into its SID.
        item_head: float32 [vector_dim, embedding_dim], turns it into its vector.
    """

    path: Path
    manifest: Manifest
    tokenizer: QueryTokenizer
    ordering: OrderingWeights
    quantizer: ResidualQuantizer
    item_head: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Read and check a bundle.

        Raises:
            BundleError: if the bundle is missing, truncated, altered, of another format or not of one piece.
        """
        manifest = Manifest.read(path)
        try:
            ordering = OrderingWeights(**manifest.ordering)
        except TypeError as error:
            raise BundleError(
                f"{path} does not hold the weights of the ordering ({error}); export the bundle again"
            ) from error
        quantizer = ResidualQuantizer.load(path / QUANTIZER)
        item_head = map_array(path / ITEM_HEAD)
        if item_head.ndim != 2 or item_head.shape[1] != quantizer.dim:
            raise BundleError(
                f"{path} has a quantiser of {quantizer.dim}-dimensional embeddings and an item head of shape "
                f"{item_head.shape}; export the bundle again"
            )
        tokenizer = QueryTokenizer.load(path / "tokenizer.json")
        return cls(path, manifest, tokenizer, ordering, quantizer, item_head)

    def graph_path(self, file: str) -> Path:
        """Where an exported beam search lies."""
        return self.path / file

    def item_vectors(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vectors of items: float32 [n, embedding_dim] → [n, vector_dim]."""
        vectors: NDArray[np.float32] = embeddings @ self.item_head.T
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors /= np.maximum(lengths, 1e-12)
        return vectors

    def check_same_model(self, path: Path, manifest: Manifest) -> None:
        """Refuse a bundle whose catalogue this model does not understand.

        Args:
            path: of the other bundle.
            manifest: its own.

        Raises:
            BundleError: if SIDs, vectors or embeddings of its items were made by another model's parts.
        """
        quantizer, item_head = ResidualQuantizer.load(path / QUANTIZER), map_array(path / ITEM_HEAD)
        for what, ours, theirs in (
            ("codebooks of sizes", self.quantizer.codebook_sizes, quantizer.codebook_sizes),
            ("embeddings of dimension", self.quantizer.dim, quantizer.dim),
            ("an item head of shape", self.item_head.shape, item_head.shape),
        ):
            if ours != theirs:
                raise BundleError(
                    f"{path} has {what} {theirs}, the model '{self.manifest.name}' has {ours}; "
                    "export the catalogue with this model"
                )
        files, other_files = _model_files(self.manifest), _model_files(manifest)
        for name in sorted(files | other_files):
            if files.get(name) != other_files.get(name):
                raise BundleError(
                    f"{path / name} is not that of the model '{self.manifest.name}', which would take the "
                    "items for others; export the catalogue with this model"
                )


def map_array(path: Path, rows: int | None = None) -> NDArray[np.float32]:
    """Map a float32 array of a bundle.

    Args:
        path: of an ``.npy``.
        rows: how many it must have; None takes any number.

    Raises:
        BundleError: if it is no such array.
    """
    try:
        array: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not an array ({error}); export the bundle again") from error
    if array.dtype != np.float32 or not array.ndim or (rows is not None and len(array) != rows):
        expected = "rows" if rows is None else f"{rows:,} rows"
        raise BundleError(
            f"{path} is {array.dtype} of shape {array.shape}, expected float32 with {expected}; "
            "export the bundle again"
        )
    return np.asarray(array)  # a plain view; indexing a memmap itself takes longer


def _model_files(manifest: Manifest) -> dict[str, str]:
    """Hashes of what makes SIDs, vectors and embeddings of items."""
    return {
        name: digest
        for name, digest in manifest.files.items()
        if name in (QUANTIZER, ITEM_HEAD) or name.startswith(EMBEDDER)
    }
