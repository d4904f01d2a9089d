"""Posting lists of many SIDs in flat arrays: one behind the other, never one object each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Postings:
    """The items of the SIDs that a search found.

    Attributes:
        items: int32 [n], item rows, beam after beam.
        beams: int32 [n], ascending, the beam (index into the search's K) whose SID each item has.
    """

    items: NDArray[np.int32]
    beams: NDArray[np.int32]

    @classmethod
    def of_beams(cls, postings: Sequence[NDArray[np.int32]]) -> "Postings":
        """Put the postings of all beams together, int32 [size] each; those of unfilled beams are empty."""
        sizes = [len(posting) for posting in postings]
        items = np.concatenate(postings) if postings else np.empty(0, np.int32)
        return cls(items, np.repeat(np.arange(len(postings), dtype=np.int32), sizes))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def only(self, kept: NDArray[np.bool_] | NDArray[np.integer]) -> "Postings":
        """Some of them, by a mask bool [n] or by ascending places int [m]."""
        return Postings(self.items[kept], self.beams[kept])


def runs(
    starts: NDArray[np.integer], sizes: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of several runs of a flat array, worked out for all at once: far cheaper than a slice for each.

    Args:
        starts: int [n], the first place of each run.
        sizes: int [n], places in each, ≥ 0.

    Returns:
        The places, run after run, int64 [sum of sizes], and where each run ends among them, int64 [n].
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    n_places = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(n_places), ends
