"""When requests are due in the open loop: at the times of a Poisson process."""

import random
from collections.abc import Iterator

from loadtest.shapes import Shape


def poisson_arrivals(rate: float, seconds: float, shape: Shape, rng: random.Random) -> Iterator[float]:
    """Draw the times at which requests are due.

    The process is thinned where the shape is below its peak (Lewis and Shedler, 1979).

    Args:
        rate: arrivals per second at the peak of the shape.
        seconds: how long requests arrive.
        shape: share of the peak by share of the time.
        rng: that draws.

    Yields:
        Seconds from the start, ascending.
    """
    due = rng.expovariate(rate)
    while due < seconds:
        if rng.random() < shape(due / seconds):
            yield due
        due += rng.expovariate(rate)
