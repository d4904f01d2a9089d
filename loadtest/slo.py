"""A service-level objective and what a load test says about it."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from loadtest.errors import LoadtestError
from loadtest.recorder import Report


class Slo(BaseModel):
    """Limits that a load test must keep; a limit that is None is not judged.

    Latencies and rate are those of ``/v1/search``; the share of errors is over every request, so that
    broken clicks or batches cannot hide.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    p50_ms: float | None = Field(default=None, gt=0)
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)
    error_share: float = Field(default=0.01, ge=0, le=1)
    """At most this share of all requests may fail."""
    min_rate: float | None = Field(default=None, gt=0)
    """At least this many searches must be answered per second."""


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
        raise LoadtestError(
            f"{path}: {key}: {wrong['msg']}; the keys are {', '.join(Slo.model_fields)}."
        ) from error


def judge(slo: Slo, report: Report) -> list[Judgement]:
    """Hold a report against each limit that is set."""
    search = report.search.model_dump() if report.search else {}
    measured = search | {"error_share": report.error_share, "min_rate": search.get("rate")}
    limits = {name: limit for name, limit in slo.model_dump().items() if limit is not None}
    return [_judgement(name, limit, measured.get(name)) for name, limit in limits.items()]


def _judgement(name: str, limit: float, measured: float | None) -> Judgement:
    if measured is None:
        return Judgement(name, limit, None, met=False)
    return Judgement(
        name, limit, measured, met=measured >= limit if name == "min_rate" else measured <= limit
    )
