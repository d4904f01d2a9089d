"""How well a catalogue's SIDs are spread: utilisation, perplexity, collisions, what quantisation lost."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sid.quantizer import ResidualQuantizer
from sid.table import SidTable


@dataclass(frozen=True)
class LevelReport:
    """Code usage on one level, counted over items.

    Attributes:
        codebook_size: number of centroids.
        utilisation: share of the centroids that some item uses.
        perplexity: exp of the entropy of code usage: how many equally used codes would be as spread.
        largest_share: share of all items that use the most used code.
    """

    codebook_size: int
    utilisation: float
    perplexity: float
    largest_share: float


@dataclass(frozen=True)
class SidReport:
    """The SIDs of one catalogue.

    Attributes:
        levels: code usage per level.
        n_items, n_sids: items, and distinct SIDs.
        items_per_sid_mean, items_per_sid_max: size of the postings.
        collision_share: share of items whose SID another item has too.
        reconstruction_error: squared distance between embeddings and the sums of their centroids, as a share
            of the embeddings' squared distance from their mean.
    """

    levels: tuple[LevelReport, ...]
    n_items: int
    n_sids: int
    items_per_sid_mean: float
    items_per_sid_max: int
    collision_share: float
    reconstruction_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)


def report(table: SidTable, quantizer: ResidualQuantizer, embeddings: NDArray[np.float32]) -> SidReport:
    """Measure the SIDs of one item or more.

    Args:
        table: the SID of every item.
        quantizer: the codebooks that the SIDs were made with.
        embeddings: float32 [n_items, d], what was quantised.
    """
    sizes = np.diff(table.posting_indptr)
    codes = table.codes[table.leaf_of_item()]
    return SidReport(
        levels=tuple(_level(codes[:, level], size) for level, size in enumerate(table.codebook_sizes)),
        n_items=table.n_items,
        n_sids=table.n_leaves,
        items_per_sid_mean=float(sizes.mean()),
        items_per_sid_max=int(sizes.max()),
        collision_share=float(sizes[sizes > 1].sum() / table.n_items),
        reconstruction_error=_error_share(embeddings, quantizer.decode(codes)),
    )


def _level(codes: NDArray[np.int32], codebook_size: int) -> LevelReport:
    share = np.bincount(codes, minlength=codebook_size) / len(codes)
    used = share[share > 0]
    return LevelReport(
        codebook_size=codebook_size,
        utilisation=len(used) / codebook_size,
        perplexity=float(np.exp(-(used * np.log(used)).sum())),
        largest_share=float(used.max()),
    )


def _error_share(embeddings: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    spread = np.square(embeddings - embeddings.mean(axis=0), dtype=np.float64).sum()
    error = np.square(embeddings - decoded, dtype=np.float64).sum()
    return float(error / spread) if spread > 0 else 0.0
