"""Whether each variation got its share of the users.

When it did not, users are missing who may differ from those who are there, and no difference means anything
(Fabijan et al., "Diagnosing Sample Ratio Mismatch in Online Controlled Experiments", KDD 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import tea_tasting as tt
from tea_tasting.aggr import Aggregates

from experiments.errors import ExperimentError

MISMATCH_P = 0.001  # a false alarm stops a sound experiment, so it is rare


@dataclass(frozen=True)
class SampleRatio:
    """Users against what was to be expected.

    Attributes:
        users: by variation.
        shares: by variation, expected; together 1.
        p: of users as far from their shares as these, the smallest over the pairs of control and another
            variation times the number of pairs.
    """

    users: dict[int, int]
    shares: dict[int, float]
    p: float

    @property
    def is_sound(self) -> bool:
        """Whether the users may be what chance made of the shares."""
        return self.p >= MISMATCH_P


def read_weights(given: str | None) -> tuple[float, ...] | None:
    """Read what ``--weights`` is given; None where it is not.

    Raises:
        ExperimentError: if it is no numbers.
    """
    try:
        return tuple(map(float, given.split(","))) if given is not None else None
    except ValueError as error:
        raise ExperimentError(
            f"--weights {given} are not numbers with commas between, such as 0.9,0.1"
        ) from error


def sample_ratio(users: dict[int, int], weights: Sequence[float] | None) -> SampleRatio:
    """Check users against weights.

    Args:
        users: by variation; of variations without a weight there are none.
        weights: of the variations from 0 on, in any proportion; None for equal ones.

    Raises:
        ExperimentError: if they are not weights of these variations.
    """
    given = dict(enumerate(weights)) if weights is not None else dict.fromkeys(users, 1.0)
    if not set(users) <= set(given) or any(weight <= 0 for weight in given.values()):
        raise ExperimentError(
            f"the experiment has users in variations {sorted(users)}; pass --weights with a number above 0 "
            f"for each variation from 0 on"
        )
    counts = {variation: users.get(variation, 0) for variation in sorted(given)}
    control, *others = counts
    groups = {variation: Aggregates(count_=count) for variation, count in counts.items()}
    check = tt.SampleRatio(given)
    ps = [
        check.analyze({control: groups[control], other: groups[other]}, control, other).pvalue
        for other in others
    ]
    total = sum(given.values())
    shares = {variation: weight / total for variation, weight in given.items()}
    return SampleRatio(counts, shares, min(1.0, float(min(ps, default=1.0)) * len(ps)))
