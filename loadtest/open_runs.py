"""A load test in the open loop, and the search for the capacity, which is many of them."""

import gc
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from loadtest.arrivals import poisson_arrivals
from loadtest.capacity import Capacity, Trial, find_capacity
from loadtest.evidence import probability_kept
from loadtest.open_loop import OpenLoop
from loadtest.recorder import Recorder, Requests
from loadtest.report import BUSY, Report, summarise
from loadtest.settings import LoadtestSettings
from loadtest.shapes import SHAPES, Shape, constant
from loadtest.slo import GOODPUT, Judgement, Slo
from loadtest.visits import Shoppers

TIMEOUT_S = 30.0
WARM_UP_S, WARM_UP_SHARE = 1.0, 0.25
"""The warm-up takes this long, or this share of the time where that is less."""

LONGEST_LIMITS = 20.0
"""A trial takes this many times the longest latency of the SLO: an overload of 5% must have time to show."""

ENOUGH_REQUESTS, MOST_TIMES = 100, 4.0
"""At low rates a trial takes until it has so many requests, but not longer than so many times the least."""

PATIENCE = 5.0
"""A trial waits for an answer this many times the longest latency of the SLO."""

LEAST_PATIENCE_S = 1.0
LEAST_HOPELESS = 64
"""Requests without an answer that are no sign of overload."""

OF_TRIAL = {"operations", "error_share", "degraded_share", "goodput", "errors", "generator"}


@dataclass(frozen=True)
class CapacityRun:
    """The capacity, and what each trial measured.

    Attributes:
        capacity: what was found.
        reports: of its trials, in their order.
        slo: that had to be kept.
    """

    capacity: Capacity
    reports: list[Report]
    slo: Slo

    @property
    def at_capacity(self) -> Report | None:
        """Of the trial with the highest rate, up to the capacity, at which the SLO was kept."""
        tried = zip(self.capacity.trials, self.reports, strict=True)
        kept = [pair for pair in tried if pair[0].passed and pair[0].rate <= self.capacity.rate]
        return max(kept, key=lambda pair: pair[0].rate)[1] if kept else None

    @property
    def judgements(self) -> list[Judgement]:
        """The SLO at the capacity; where there is none, at the lowest rate that was tried."""
        tried = zip(self.capacity.trials, self.reports, strict=True)
        report = self.at_capacity or min(tried, key=lambda pair: pair[0].rate)[1]
        limit = self.slo.goodput
        if limit is None:
            return report.judgements
        return [*report.judgements, Judgement(GOODPUT, limit, report.goodput, report.goodput >= limit)]

    @property
    def met(self) -> bool:
        """Whether there is a capacity, and goodput enough."""
        return self.at_capacity is not None and all(judgement.met for judgement in self.judgements)

    def document(self) -> dict[str, object]:
        """The whole, for JSON."""
        tried = zip(self.capacity.trials, self.reports, strict=True)
        return {
            "capacity": {
                "rate": self.capacity.rate,
                "low": self.capacity.low,
                "high": self.capacity.high,
                "generator_limited": self.capacity.generator_limited,
            },
            "met": self.met,
            "judgements": [asdict(judgement) for judgement in self.judgements],
            "at_capacity": self.at_capacity.model_dump(mode="json") if self.at_capacity else None,
            "trials": [
                asdict(trial) | report.model_dump(mode="json", include=OF_TRIAL) for trial, report in tried
            ],
        }


class OpenRuns:
    """Runs in the open loop against one server, by the same shoppers.

    Args:
        settings: of the load test.
        slo: to judge by.
        loop: that sends.
    """

    def __init__(self, settings: LoadtestSettings, slo: Slo, loop: OpenLoop) -> None:
        self._settings = settings
        self._slo = slo
        self._loop = loop
        self._rng = random.Random(settings.seed)

    async def run(self, rate: float, seconds: float) -> Report:
        """Let requests arrive for some seconds."""
        shape = self._settings.shape
        _, report = await self._measure(
            rate, seconds, SHAPES[shape], f"{rate:g} requests/s, {shape}", TIMEOUT_S
        )
        return report

    async def trial(self, rate: float) -> tuple[Trial, Report]:
        """Let requests arrive at a rate for as long as it takes to tell whether the SLO is kept."""
        began = time.perf_counter()
        least_s, limit_s = self._settings.trial_seconds, self._slo.longest_ms / 1000
        requests, report = await self._measure(
            rate,
            max(least_s, LONGEST_LIMITS * limit_s, min(ENOUGH_REQUESTS / rate, MOST_TIMES * least_s)),
            constant,
            f"{rate:.4g} requests/s",
            timeout_s=max(PATIENCE * limit_s, LEAST_PATIENCE_S),
            hopeless_at=max(LEAST_HOPELESS, round(PATIENCE * limit_s * rate)),
        )
        kept = probability_kept(self._slo, requests)
        kept_from_sending = probability_kept(self._slo, requests.counted_from_sending())
        limited = kept < 0.5 and (report.generator.cpu_share > BUSY or kept_from_sending >= 0.5)
        return Trial(rate, kept, limited, time.perf_counter() - began), report

    async def _measure(
        self,
        rate: float,
        seconds: float,
        shape: Shape,
        load: str,
        timeout_s: float,
        hopeless_at: int | None = None,
    ) -> tuple[Requests, Report]:
        recorder = Recorder()
        warm_up_s = min(WARM_UP_S, WARM_UP_SHARE * seconds)

        def from_the_start(share: float) -> float:
            """The warm-up has the load that the measured time begins with."""
            return shape(max(share * (seconds + warm_up_s) - warm_up_s, 0.0) / seconds)

        arrivals = poisson_arrivals(rate, seconds + warm_up_s, from_the_start, self._rng)
        cpu, began = time.process_time(), time.perf_counter()
        await self._loop.run(
            arrivals, recorder, warm_up_s=warm_up_s, timeout_s=timeout_s, hopeless_at=hopeless_at
        )
        report = summarise(
            recorder,
            self._slo,
            url=self._settings.url,
            loop="open",
            load=load,
            seconds=seconds,
            cpu_share=(time.process_time() - cpu) / (time.perf_counter() - began),
        )
        return recorder.requests(), report


async def run_at_rate(settings: LoadtestSettings, slo: Slo, rate: float, seconds: float) -> Report:
    """Let requests arrive at a rate and judge what became of them."""
    async with open_runs(settings, slo) as runs:
        return await runs.run(rate, seconds)


async def run_capacity(
    settings: LoadtestSettings, slo: Slo, budget_s: float, show: Callable[[Trial, Report], None]
) -> CapacityRun:
    """Look for the capacity of a server.

    Args:
        settings: of the load test.
        slo: that must be kept, but for its goodput.
        budget_s: seconds that the search may take.
        show: is told of every trial.
    """
    reports: list[Report] = []
    async with open_runs(settings, slo.model_copy(update={"goodput": None})) as runs:

        async def attempt(rate: float) -> Trial:
            trial, report = await runs.trial(rate)
            reports.append(report)
            show(trial, report)
            return trial

        return CapacityRun(await find_capacity(attempt, budget_s), reports, slo)


@asynccontextmanager
async def open_runs(settings: LoadtestSettings, slo: Slo) -> AsyncIterator[OpenRuns]:
    """Shoppers who know what the server's filters may name, and the connections to it."""
    shoppers = Shoppers(settings)
    shoppers.look_around(settings.url)
    async with OpenLoop(settings.url, settings.bearer, shoppers) as loop:
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not stop the loop to look at it
        try:
            yield OpenRuns(settings, slo, loop)
        finally:
            gc.unfreeze()
