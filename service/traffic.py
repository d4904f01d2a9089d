"""Who answers where no experiment decides: shares of the callers, the same for a caller on every replica."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from growthbook.core import gbhash

SEED, HASH_VERSION = "traffic", 2  # as experiments hash: with a seed of its own, so that both are independent


@dataclass(frozen=True)
class Traffic:
    """What callers can get now.

    Attributes:
        variants: names of those that are loaded, in the order in which they were; one at least.
        shares: share of the callers by variant, summing to 1; empty where nobody has shifted any.
    """

    variants: tuple[str, ...]
    shares: Mapping[str, float]

    def variant_of(self, caller_id: str) -> str | None:
        """The variant of a caller by the shares; None where there are none.

        Callers keep theirs but for those that a change of the shares moves; the variants have their ranges
        in the order of their names.
        """
        names = sorted(self.shares)
        if not names:
            return None
        place = gbhash(SEED, caller_id, HASH_VERSION) or 0.0  # from 0 to 1, without 1
        ends = accumulate(self.shares[name] for name in names)
        return next((name for name, end in zip(names, ends, strict=True) if place < end), names[-1])
