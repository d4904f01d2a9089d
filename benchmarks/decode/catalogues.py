"""Random SIDs and filters of every kind that a search has to get right."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sid import SidTable, Trie

Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]
MILLION = 1_000_000
N_ITEMS = (3, 30, 300, 2_000)
MOST_IN_FULL = 4_000  # SIDs of a complete catalogue


@dataclass(frozen=True)
class Catalogue:
    """SIDs that exist.

    Attributes:
        kind: how they were drawn, a key of ``KINDS``.
        sids: int64 [n, L], sorted, without repeats; not taken from the table.
        table, trie: made of the same SIDs, unsorted and with repeats.
    """

    kind: str
    sids: NDArray[np.int64]
    table: SidTable
    trie: Trie

    @classmethod
    def draw(cls, kind: str, sizes: tuple[int, ...], rng: np.random.Generator) -> "Catalogue":
        """Draw a catalogue with codebooks of these sizes."""
        codes = KINDS[kind](sizes, rng)
        table = SidTable.from_item_codes(rng.permutation(codes), sizes)
        keys = np.unique(np.ravel_multi_index(tuple(codes.T), sizes))
        sids = np.stack(np.unravel_index(keys, sizes), axis=1)
        return cls(kind, sids, table, Trie.from_table(table))


def spread(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """Every code as likely as any other."""
    return _uniform(rng.choice(N_ITEMS), sizes, rng)


def skewed(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """Codes by Zipf's law, with another exponent per level, the most frequent anywhere in the codebook."""
    n_items = rng.choice(N_ITEMS)
    exponents = rng.choice([1.05, 1.3, 1.8, 3.0], len(sizes))
    levels = [
        rng.permutation(size)[(rng.zipf(exponent, n_items) - 1) % size]
        for size, exponent in zip(sizes, exponents, strict=True)
    ]
    return np.stack(levels, axis=1).astype(np.int32)


def single_path(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """All SIDs alike down to the last level."""
    codes = _uniform(rng.choice(N_ITEMS), sizes, rng)
    codes[:, :-1] = codes[0, :-1]
    return codes


def dead_ends(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """Most SIDs are gone: nearly all prefixes lead to one SID alone, one prefix to many."""
    codes = spread(sizes, rng)
    _, first = np.unique(codes[:, :-1], axis=0, return_index=True)
    crowd = _uniform(50, sizes, rng)
    crowd[:, :-1] = codes[0, :-1]
    return np.concatenate([codes[first], crowd])


def complete(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """Every SID there is, or the first of them in trie order where these are too many."""
    n_sids = min(int(np.prod(sizes)), MOST_IN_FULL)
    return np.stack(np.unravel_index(np.arange(n_sids), sizes), axis=1).astype(np.int32)


def one_item(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """One SID."""
    return _uniform(1, sizes, rng)


def empty(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """No SID."""
    return _uniform(0, sizes, rng)


def million(sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    """A million items."""
    return _uniform(MILLION, sizes, rng)


KINDS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Codes]] = {
    "spread": spread,
    "skewed": skewed,
    "single path": single_path,
    "dead ends": dead_ends,
    "complete": complete,
    "one item": one_item,
    "empty": empty,
    "million": million,
}

FILTERS: dict[str, Callable[[NDArray[np.int64], np.random.Generator], Mask]] = {
    "all": lambda sids, rng: np.ones(len(sids), dtype=bool),
    "most": lambda sids, rng: rng.random(len(sids)) < 0.95,
    "half": lambda sids, rng: rng.random(len(sids)) < 0.5,
    "few": lambda sids, rng: rng.random(len(sids)) < 5 / max(len(sids), 1),
    "one": lambda sids, rng: np.arange(len(sids)) == rng.integers(max(len(sids), 1)),
    "none": lambda sids, rng: np.zeros(len(sids), dtype=bool),
    "one branch": lambda sids, rng: sids[:, 0] == rng.choice(sids[:, 0]) if len(sids) else sids[:, 0] == 0,
}
"""Kind to the leaves that such a filter leaves over: int64 [n, L] → bool [n]."""


def _uniform(n_items: int, sizes: tuple[int, ...], rng: np.random.Generator) -> Codes:
    return rng.integers(0, sizes, (n_items, len(sizes)), dtype=np.int32)
