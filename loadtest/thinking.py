"""How long shoppers think between two requests."""

import random
from collections.abc import Callable

ThinkTime = Callable[[random.Random], float]
"""Draws the seconds of one pause."""


def none(rng: random.Random) -> float:
    """No pause: the next request follows at once, as a shop's backend sends them."""
    del rng
    return 0.0


def hasty(rng: random.Random) -> float:
    """Exponential with mean 1 s: someone who tries words until something fits."""
    return rng.expovariate(1.0)


def browsing(rng: random.Random) -> float:
    """Log-normal with median 5 s, 14 s at the 90th percentile, cut at 60 s: someone who reads the answers."""
    return min(rng.lognormvariate(mu=1.609, sigma=0.8), 60.0)


THINK_TIMES: dict[str, ThinkTime] = {"none": none, "hasty": hasty, "browsing": browsing}

MIXED = "mixed"
"""Profile of which each visit draws its own: one in four is hasty, the others browse."""

PROFILES = (*THINK_TIMES, MIXED)


def think_time(profile: str, rng: random.Random) -> ThinkTime:
    """The think times of one visit, by profile."""
    if profile == MIXED:
        return hasty if rng.random() < 0.25 else browsing
    return THINK_TIMES[profile]
