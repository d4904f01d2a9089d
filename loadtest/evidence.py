"""How sure a trial makes us that an SLO is kept."""

from statistics import NormalDist

import numpy as np

from loadtest.recorder import Requests
from loadtest.slo import Criterion, Slo, criteria

N_BLOCKS = 10


def probability_kept(slo: Slo, requests: Requests) -> float:
    """Estimate the probability that a server keeps an SLO under the load of a trial.

    Args:
        slo: of which the goodput is left aside: it says how much load there must be.
        requests: of the trial.

    Returns:
        The least of the probabilities of the limits; 0 where no request was answered.
    """
    if not len(requests.answered):
        return 0.0
    return min(_probability(criterion) for criterion in criteria(slo, requests))


def _probability(criterion: Criterion) -> float:
    """The score test of a share against its limit.

    Slow requests come together, so the requests are worth fewer independent ones: by the design effect, the
    variance between blocks of time in relation to that of independent requests (Kish, 1965).
    """
    n, limit = len(criterion.bad), criterion.share
    if not n:
        return 0.5
    share = float(criterion.bad.mean())
    if limit in {0.0, 1.0}:
        return float(share <= limit)
    n_effective = n / _design_effect(criterion, share)
    return NormalDist().cdf((limit - share) / (limit * (1 - limit) / n_effective) ** 0.5)


def _design_effect(criterion: Criterion, share: float) -> float:
    """At least 1; 1 where nothing varies."""
    if share in (0.0, 1.0):
        return 1.0
    edges = np.linspace(criterion.due_s[0], criterion.due_s[-1], N_BLOCKS + 1)[1:-1]
    block = np.searchsorted(edges, criterion.due_s, side="right")
    n = np.bincount(block, minlength=N_BLOCKS)
    n_bad = np.bincount(block, weights=criterion.bad, minlength=N_BLOCKS)
    between = np.square(n_bad - share * n).sum() * N_BLOCKS / (N_BLOCKS - 1)
    return max(1.0, float(between) / (len(criterion.bad) * share * (1 - share)))
