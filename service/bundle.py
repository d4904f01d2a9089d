"""A bundle directory, read and checked: one model with the epoch it came with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.epoch import Epoch
from service.tokenizer import QueryTokenizer
from sid import ItemFeatures, OrderingWeights
from sid.manifest import BundleError, Graph, Manifest


@dataclass(frozen=True)
class Bundle:
    """What ``radsearch export`` wrote.

    Attributes:
        path: the directory.
        manifest: its hashes checked.
        epoch: the catalogue; bundles of one catalogue share it.
        tokenizer: turns queries into prompts.
        features: what items are scored by; vectors and embeddings are mapped from their files.
        ordering: the weights of these features.
    """

    path: Path
    manifest: Manifest
    epoch: Epoch
    tokenizer: QueryTokenizer
    features: ItemFeatures
    ordering: OrderingWeights

    @classmethod
    def load(cls, path: Path, epochs: dict[str, Epoch], filter_cache: int) -> "Bundle":
        """Read and check a bundle.

        Args:
            path: the directory.
            epochs: those loaded already, by id; a new one is added.
            filter_cache: how many filter masks an epoch keeps.

        Raises:
            BundleError: if the bundle is missing, truncated, altered, of another format or not of one piece.
        """
        manifest = Manifest.read(path)
        epoch_id = Epoch.id_of(manifest)
        if epoch_id not in epochs:
            epochs[epoch_id] = Epoch.load(path, manifest, filter_cache)
        epoch = epochs[epoch_id]
        n_items = len(epoch.catalogue)
        features = ItemFeatures(
            _array(path / "item_vectors.npy", n_items),
            _array(path / "item_embeddings.npy", n_items),
            epoch.lexical,
            _array(path / "item_prior.npy", n_items),
        )
        try:
            ordering = OrderingWeights(**manifest.ordering)
        except TypeError as error:
            raise BundleError(
                f"{path} does not hold the weights of the ordering ({error}); export the bundle again"
            ) from error
        return cls(
            path=path,
            manifest=manifest,
            epoch=epoch,
            tokenizer=QueryTokenizer.load(path / "tokenizer.json"),
            features=features,
            ordering=ordering,
        )

    def graph_path(self, graph: Graph) -> Path:
        """Where an exported beam search lies."""
        return self.path / graph.file


def _array(path: Path, rows: int) -> NDArray[np.float32]:
    """Map a float32 array that has one row per item."""
    try:
        array: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not an array ({error}); export the bundle again") from error
    if len(array) != rows or array.dtype != np.float32:
        raise BundleError(
            f"{path} is {array.dtype} with {len(array):,} rows, expected float32 with {rows:,}; "
            "export the bundle again"
        )
    return np.asarray(array)  # a plain view; indexing a memmap itself takes longer
