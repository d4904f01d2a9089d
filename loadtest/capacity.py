"""The largest arrival rate that keeps an SLO: doubling, then bisection that weighs what it has seen.

One trial may mislead: it is short, and others share the machine. So no trial is final. Each changes a belief,
a probability of every rate to be the capacity, by as much as it tells, and the next trial is made at the
median of the belief (probabilistic bisection: Waeber, Frazier and Henderson, 2013).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIRST_RATE = 8.0
LEAST_RATE = 0.5
MOST_RATE = 65536.0
GRID_STEP = 1.01
WIDE_ENOUGH = 2.0
"""The belief reaches this factor beyond what doubling found, in case that was misled."""
NARROW = 1.1
"""Ratio of the ends of the interval at which the capacity is known well enough."""
CONFIDENCE = 0.9
TRUST = 0.95
"""No trial is believed more than this: what slows a machine for seconds looks the same in all of it."""


@dataclass(frozen=True)
class Trial:
    """Some seconds at one arrival rate.

    Attributes:
        rate: arrivals per second.
        kept: probability that the SLO is kept at this rate, 0..1.
        generator_limited: whether the SLO was missed because of the load generator.
        seconds: that the trial took, with all before and after it.
    """

    rate: float
    kept: float
    generator_limited: bool
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether the SLO is rather kept than not."""
        return self.kept >= 0.5


@dataclass(frozen=True)
class Capacity:
    """What the search found.

    Attributes:
        rate: median of the belief, arrivals per second; 0 where the SLO is kept at no rate.
        low, high: the interval in which the capacity lies with a probability of 90%; high is None where no
            rate was seen to miss the SLO.
        generator_limited: whether the load generator ended the search: the server can do more.
        trials: all, in their order.
    """

    rate: float
    low: float
    high: float | None
    generator_limited: bool
    trials: Sequence[Trial]


class Belief:
    """A probability of each rate to be the capacity.

    Args:
        low, high: ends of the rates, which are equally far apart by ratio.
    """

    def __init__(self, low: float, high: float) -> None:
        n_rates = int(np.ceil(np.log(high / low) / np.log(GRID_STEP))) + 1
        self._rates: NDArray[np.float64] = np.geomspace(low, high, n_rates)
        self._weights = np.full(n_rates, 1 / n_rates)

    def update(self, trial: Trial) -> None:
        """Take what a trial tells: the capacity is at or above its rate, with its probability."""
        kept = min(max(trial.kept, 1 - TRUST), TRUST)
        self._weights *= np.where(self._rates >= trial.rate, kept, 1 - kept)
        self._weights /= self._weights.sum()

    def quantile(self, share: float) -> float:
        """The rate below or at which the capacity lies with a probability."""
        place = int(np.searchsorted(np.cumsum(self._weights), share))
        return float(self._rates[min(place, len(self._rates) - 1)])

    def interval(self) -> tuple[float, float]:
        """The rates between which the capacity lies with the confidence."""
        return self.quantile((1 - CONFIDENCE) / 2), self.quantile((1 + CONFIDENCE) / 2)


class Trials:
    """Makes trials while there is time.

    Args:
        attempt: makes a trial at a rate.
        budget_s: seconds after which no trial is begun that would not end in time.

    Attributes:
        made: all trials, in their order.
    """

    def __init__(self, attempt: Callable[[float], Awaitable[Trial]], budget_s: float) -> None:
        self._attempt = attempt
        self._budget_s = budget_s
        self.made: list[Trial] = []

    async def make(self, rate: float) -> Trial | None:
        """Make one; None where there is no time for it."""
        longest = max((trial.seconds for trial in self.made), default=0.0)
        if self.made and sum(trial.seconds for trial in self.made) + longest > self._budget_s:
            return None
        trial = await self._attempt(rate)
        self.made.append(trial)
        return trial

    @property
    def kept(self) -> float:
        """The highest rate at which the SLO was kept; 0 where there is none."""
        return max((trial.rate for trial in self.made if trial.passed), default=0.0)

    @property
    def missed(self) -> float | None:
        """The lowest rate at which it was missed; None where there is none."""
        return min((trial.rate for trial in self.made if not trial.passed), default=None)

    @property
    def generator_limited(self) -> bool:
        """Whether the load generator was the limit of some trial."""
        return any(trial.generator_limited for trial in self.made)


async def find_capacity(attempt: Callable[[float], Awaitable[Trial]], budget_s: float) -> Capacity:
    """Look for the largest rate that keeps the SLO.

    Args:
        attempt: makes a trial at a rate.
        budget_s: seconds after which no trial is begun that would not end in time.

    Returns:
        The capacity, with an interval as narrow as the budget allows.
    """
    trials = Trials(attempt, budget_s)
    await _double(trials)
    if trials.kept and trials.missed and not trials.generator_limited:
        lowest, highest = min(trials.kept, trials.missed), max(trial.rate for trial in trials.made)
        return await _bisect(trials, Belief(lowest / WIDE_ENOUGH, highest * WIDE_ENOUGH))
    high = None if trials.generator_limited else trials.missed
    return Capacity(trials.kept, trials.kept, high, trials.generator_limited, trials.made)


async def _double(trials: Trials) -> None:
    """Go up by twos until the SLO is missed; where it is missed at first, down until it is kept.

    Up, it must be missed twice: one slow moment at a low rate would hold the whole search there.
    """
    first = await trials.make(FIRST_RATE)
    if first and not first.passed:
        first = await trials.make(FIRST_RATE)
    trial, step = first, 2.0 if first and first.passed else 0.5
    while trial and trial.passed == (step > 1) and LEAST_RATE < trial.rate < MOST_RATE:
        trial = await trials.make(trial.rate * step)
        if trial and step > 1 and not trial.passed and not trial.generator_limited:
            trial = await trials.make(trial.rate)


async def _bisect(trials: Trials, belief: Belief) -> Capacity:
    """Try the median of the belief until the belief is narrow."""
    for trial in trials.made:
        belief.update(trial)
    low, high = belief.interval()
    while high / low > NARROW and not trials.generator_limited:
        tried = await trials.make(belief.quantile(0.5))
        if tried is None:
            break
        belief.update(tried)
        low, high = belief.interval()
    if trials.generator_limited:
        return Capacity(trials.kept, trials.kept, None, True, trials.made)
    return Capacity(belief.quantile(0.5), low, high, False, trials.made)
