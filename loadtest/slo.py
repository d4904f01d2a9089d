"""A service-level objective, and what a load test says about it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtest.answers import Operation
from loadtest.errors import LoadtestError
from loadtest.recorder import Requests

GOODPUT = "goodput"


class LatencyLimits(BaseModel):
    """Percentiles of the answered requests of one operation, ms; one that is None is not judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    p50_ms: float | None = Field(default=None, gt=0)
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)

    def shares(self) -> dict[str, tuple[float, float]]:
        """By name, the limit and the share of the requests that may be slower."""
        limits = {"p50_ms": 0.50, "p95_ms": 0.05, "p99_ms": 0.01}
        return {
            name: (getattr(self, name), share)
            for name, share in limits.items()
            if getattr(self, name) is not None
        }


class Slo(BaseModel):
    """Limits that a load test must keep; one that is None is not judged."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    error_share: float = Field(default=0.01, ge=0, le=1)
    """At most this share of all requests may fail."""
    degraded_share: float | None = Field(default=None, ge=0, le=1)
    """At most this share of the answered searches may be degraded."""
    goodput: float | None = Field(default=None, gt=0)
    """At least this many searches must be answered per second, each within ``good_ms``."""
    good_ms: float | None = Field(default=None, gt=0)
    """Longest latency of a search that counts as good; without it every answered one does."""
    search: LatencyLimits = LatencyLimits()
    filter: LatencyLimits = LatencyLimits()
    batch: LatencyLimits = LatencyLimits()
    event: LatencyLimits = LatencyLimits()

    def latencies(self) -> dict[Operation, LatencyLimits]:
        """Limits by operation."""
        return {operation: getattr(self, operation) for operation in Operation}

    @property
    def longest_ms(self) -> float:
        """The longest latency that is limited; 0 where none is."""
        limits = [limit for each in self.latencies().values() for limit, _ in each.shares().values()]
        return max(limits, default=0.0)


CAPACITY_SLO = Slo(search=LatencyLimits(p99_ms=200))
"""What the search for the capacity holds to where no SLO is given."""


@dataclass(frozen=True)
class Criterion:
    """One limit as a share of requests: at most so many may be bad.

    Attributes:
        name: of the limit.
        limit: as it stands in the SLO.
        measured: what was measured, in the limit's unit; None where nothing was.
        bad: of each request that it is about, whether it is bad, bool [n].
        due_s: when each was due, float64 [n].
        share: of them that may be bad.
    """

    name: str
    limit: float
    measured: float | None
    bad: NDArray[np.bool_]
    due_s: NDArray[np.float64]
    share: float


@dataclass(frozen=True)
class Judgement:
    """One limit beside what was measured; nothing measured means the limit is not kept."""

    name: str
    limit: float
    measured: float | None
    met: bool


def load_slo(path: Path) -> Slo:
    """Read an SLO from a TOML file.

    Raises:
        LoadtestError: the file is missing, is not TOML, or has a key or a value that an SLO has not.
    """
    try:
        return Slo.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise LoadtestError(f"Cannot read {path} ({error.strerror}); pass --slo FILE.toml.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LoadtestError(f"{path} is not TOML: {error}.") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        known = LatencyLimits if len(wrong["loc"]) > 1 else Slo
        raise LoadtestError(
            f"{path}: {key}: {wrong['msg']}; the keys are {', '.join(known.model_fields)}."
        ) from error


def criteria(slo: Slo, requests: Requests) -> list[Criterion]:
    """Hold requests against each limit that is set, but for the goodput."""
    found = [
        _latency_criterion(f"{operation} {name}", limit, share, requests.of(operation).answered)
        for operation, limits in slo.latencies().items()
        for name, (limit, share) in limits.shares().items()
    ]
    found.append(_share_criterion("error_share", slo.error_share, requests.failed, requests.due_s))
    if slo.degraded_share is not None:
        searches = requests.searches.answered
        found.append(
            _share_criterion("degraded_share", slo.degraded_share, searches.degraded, searches.due_s)
        )
    return found


def goodput(slo: Slo, requests: Requests, seconds: float) -> float:
    """Searches per second that were answered, and not too late."""
    latencies = requests.searches.answered.latency_ms
    return float(np.count_nonzero(latencies <= (slo.good_ms or np.inf))) / seconds


def judge(slo: Slo, requests: Requests, seconds: float) -> list[Judgement]:
    """Hold the requests of a test that took some seconds against each limit that is set."""
    judgements = [
        Judgement(
            criterion.name,
            criterion.limit,
            criterion.measured,
            met=criterion.measured is not None and criterion.measured <= criterion.limit,
        )
        for criterion in criteria(slo, requests)
    ]
    if slo.goodput is not None:
        measured = goodput(slo, requests, seconds)
        judgements.append(Judgement(GOODPUT, slo.goodput, measured, met=measured >= slo.goodput))
    return judgements


def percentile(latencies_ms: NDArray[np.float64], share: float) -> float | None:
    """The least latency that a share of all does not exceed (nearest rank); None where there are none."""
    return float(np.quantile(latencies_ms, share, method="inverted_cdf")) if len(latencies_ms) else None


def _latency_criterion(name: str, limit: float, share: float, requests: Requests) -> Criterion:
    measured = percentile(requests.latency_ms, 1 - share)
    return Criterion(name, limit, measured, requests.latency_ms > limit, requests.due_s, share)


def _share_criterion(
    name: str, share: float, bad: NDArray[np.bool_], due_s: NDArray[np.float64]
) -> Criterion:
    return Criterion(name, share, float(bad.mean()) if len(bad) else None, bad, due_s, share)
