"""How the load goes up and down during a test: shares of its peak over shares of its time."""

import math
from collections.abc import Callable

Shape = Callable[[float], float]
"""From a share of the time, 0..1, to a share of the peak, above 0 and at most 1."""

N_STEPS = 5
SPIKE_BASE = 0.25
SPIKE_FROM, SPIKE_TO = 0.4, 0.6


def constant(time: float) -> float:
    """The peak all the time."""
    del time
    return 1.0


def steps(time: float) -> float:
    """Up to the peak in five equal steps of equal length."""
    return min(math.floor(time * N_STEPS) + 1, N_STEPS) / N_STEPS


def spike(time: float) -> float:
    """A quarter of the peak, and the peak at once for the middle fifth of the time."""
    return 1.0 if SPIKE_FROM <= time < SPIKE_TO else SPIKE_BASE


SHAPES: dict[str, Shape] = {"constant": constant, "steps": steps, "spike": spike}
