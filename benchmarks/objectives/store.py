"""The results of finished jobs, one file each, so that a benchmark that was stopped goes on where it was."""

import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.objectives.plan import Job
from benchmarks.record import revision
from sid import RadsearchError
from training.metrics import PerQuery

SETUP = "setup.json"


class StoreError(RadsearchError):
    """A work directory that cannot serve this benchmark."""


@dataclass(frozen=True)
class Result:
    """What a job gave.

    Attributes:
        values: every metric of every query, by its name in result files; none where nothing was judged.
        figures: whatever else is worth keeping.
        seconds: it took, on the one process that did it.
        error: why there are no values, or None.
        revision: of the code that gave it, as in ``benchmarks.record``; set when it is kept.
    """

    values: PerQuery = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None
    revision: str | None = None


class Store:
    """A directory of results of one setup."""

    def __init__(self, path: Path, setup: dict[str, Any]) -> None:
        """Open a directory, or make it.

        Args:
            path: the directory.
            setup: whatever decides all results beside the jobs themselves; plain JSON.

        Raises:
            StoreError: if its results were made under another setup, or it cannot be written.
        """
        self.path = path
        self._revision = revision()
        setup = orjson.loads(orjson.dumps(setup))
        try:
            path.mkdir(parents=True, exist_ok=True)
            if (path / SETUP).exists():
                _check_same(path, orjson.loads((path / SETUP).read_bytes()), setup)
            elif any(path.iterdir()):
                raise StoreError(f"{path} is not empty and has no {SETUP}; choose another --work")
            else:
                self._write(SETUP, setup)
        except OSError as error:
            raise StoreError(f"{path} cannot be written ({error.strerror}); choose another --work") from error

    def load(self, job: Job) -> Result | None:
        """The result of a job; None if it is not there yet."""
        try:
            raw = orjson.loads((self.path / f"{job.key}.json").read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as error:
            raise StoreError(f"{self.path / job.key}.json is damaged; remove it and run again") from error
        raw.pop("job")
        values = {name: np.array(value) for name, value in raw.pop("values").items()}
        return Result(values, **raw)

    def save(self, job: Job, result: Result) -> None:
        """Keep a result; it is there whole or not at all."""
        made = replace(result, revision=self._revision)
        self._write(f"{job.key}.json", {"job": asdict(job), **asdict(made)})

    def _write(self, name: str, value: dict[str, Any]) -> None:
        scratch = self.path / f".{name}-{os.getpid()}"
        scratch.write_bytes(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))
        scratch.replace(self.path / name)


def _check_same(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [name for name in now if now[name] != then.get(name)]
    if changed:
        name = changed[0]
        raise StoreError(
            f"{path} holds results with {name} = {then.get(name)}, now it is {now[name]}; "
            "choose another --work"
        )
