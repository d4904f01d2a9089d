"""How well a catalogue's SIDs are spread: code usage, prefixes, collisions, what quantisation lost."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sid.quantizer import ResidualQuantizer
from sid.table import SidTable
from sid.trie import Trie


@dataclass(frozen=True)
class LevelReport:
    """Code usage on one level, counted over items, and the trie's growth there, counted over SIDs.

    Attributes:
        codebook_size: number of centroids.
        utilisation: share of the centroids that some item uses.
        perplexity: exp of the entropy of code usage: how many equally used codes would be as spread.
        evenness: normalised entropy, log perplexity / log codebook size; 1 where all codes are used alike,
            and for a single code.
        largest_share: share of all items that use the most used code.
        prefixes: distinct SID prefixes that end here, the trie's nodes.
        branching_mean, branching_max: prefixes that go on from one prefix of the level above.
    """

    codebook_size: int
    utilisation: float
    perplexity: float
    evenness: float
    largest_share: float
    prefixes: int
    branching_mean: float
    branching_max: int


@dataclass(frozen=True)
class SidReport:
    """The SIDs of one catalogue.

    Attributes:
        levels: code usage per level.
        hourglass: depth of the narrow waist, see :func:`hourglass`.
        n_items, n_sids: items, and distinct SIDs.
        items_per_sid_mean, items_per_sid_max: size of the postings.
        items_per_sid_p50, items_per_sid_p90, items_per_sid_p99: their quantiles, over SIDs.
        collision_share: share of items whose SID another item has too.
        reconstruction_error: squared distance between embeddings and the sums of their centroids, as a share
            of the embeddings' squared distance from their mean.
    """

    levels: tuple[LevelReport, ...]
    hourglass: float
    n_items: int
    n_sids: int
    items_per_sid_mean: float
    items_per_sid_p50: int
    items_per_sid_p90: int
    items_per_sid_p99: int
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
    postings = np.diff(table.posting_indptr)
    # Observed sizes, not numbers between them: the least size that so large a share of the SIDs keeps to.
    p50, p90, p99 = np.quantile(postings, (0.5, 0.9, 0.99), method="inverted_cdf")
    codes = table.codes[table.leaf_of_item()]
    levels = level_reports(table)
    return SidReport(
        levels=levels,
        hourglass=hourglass([level.evenness for level in levels]),
        n_items=table.n_items,
        n_sids=table.n_leaves,
        items_per_sid_mean=float(postings.mean()),
        items_per_sid_p50=int(p50),
        items_per_sid_p90=int(p90),
        items_per_sid_p99=int(p99),
        items_per_sid_max=int(postings.max()),
        collision_share=collision_share(table),
        reconstruction_error=_error_share(embeddings, quantizer.decode(codes)),
    )


def level_reports(table: SidTable) -> tuple[LevelReport, ...]:
    """Measure the levels of the SIDs of one item or more."""
    codes = np.repeat(table.codes, np.diff(table.posting_indptr), axis=0)
    return tuple(_levels(table, codes))


def collision_share(table: SidTable) -> float:
    """Share of the items whose SID another item has too; 0 of no items."""
    postings = np.diff(table.posting_indptr)
    return float(postings[postings > 1].sum() / max(1, table.n_items))


def hourglass(evenness: Sequence[float]) -> float:
    """How far the narrowest middle level falls below both outer ones.

    Residual quantisation crowds the middle levels onto few codes while the first and the last are spread,
    which bars most paths of the trie (Kuai et al., "Breaking the Hourglass Phenomenon of Residual
    Quantization", arXiv 2407.21488, who compare the levels' entropies). The depth is the lesser evenness of
    the two outer levels minus the least of the middle ones.

    Args:
        evenness: normalised entropy of code usage per level.

    Returns:
        0..1; 0 where no middle level is narrower than both outer ones, or there is none.
    """
    first, *middle, last = evenness if len(evenness) > 2 else (0.0, 0.0, 0.0)
    return max(0.0, min(first, last) - min(middle))


def _levels(table: SidTable, codes: NDArray[np.int32]) -> Iterator[LevelReport]:
    differs = np.logical_or.accumulate(table.codes[1:] != table.codes[:-1], axis=1)
    prefixes = 1 + differs.sum(axis=0)
    above = 1
    for level, width in enumerate(Trie.from_table(table).widths):
        size, n_prefixes = table.codebook_sizes[level], int(prefixes[level])
        share = np.bincount(codes[:, level], minlength=size) / len(codes)
        used = share[share > 0]
        entropy = float(-(used * np.log(used)).sum())
        yield LevelReport(
            codebook_size=size,
            utilisation=len(used) / size,
            perplexity=math.exp(entropy),
            evenness=entropy / math.log(size) if size > 1 else 1.0,
            largest_share=float(used.max()),
            prefixes=n_prefixes,
            branching_mean=n_prefixes / above,
            branching_max=width,
        )
        above = n_prefixes


def _error_share(embeddings: NDArray[np.float32], decoded: NDArray[np.float32]) -> float:
    spread = np.square(embeddings - embeddings.mean(axis=0), dtype=np.float64).sum()
    error = np.square(embeddings - decoded, dtype=np.float64).sum()
    return float(error / spread) if spread > 0 else 0.0
