"""Event logs as the service writes them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BEGIN = datetime(2026, 11, 2, tzinfo=UTC)


class LogWriter:
    """Writes lines of an event log, hours after its begin."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lines: list[dict[str, Any]] = []
        self._numbers = count()

    def search(self, user: str | None, variation: int | None, hours: float = 0.0, **fields: Any) -> str:
        """An exposure of experiment ``k``; returns its request_id."""
        request_id = fields.pop("request_id", f"r{next(self._numbers)}")
        line = {
            "schema": 1,
            "time": _time(hours),
            "type": "search",
            "request_id": request_id,
            "user_id": user,
            "anonymous_id": fields.pop("anonymous_id", "browser"),
            "experiments": {} if variation is None else {"k": variation},
            "variant": ("sft", "rad-dpo", "third")[variation or 0],
            "items": ["a", "b", "c"],
            "total_ms": 5.0,
            "interleaved": None,
        }
        self._lines.append(line | fields)
        return request_id

    def action(self, kind: str, request_id: str, hours: float = 0.0, **fields: Any) -> None:
        line = {"schema": 1, "time": _time(hours), "type": kind, "request_id": request_id, "item_id": "a"}
        self._lines.append(line | {"event_id": None, "quantity": 1, "price": None} | fields)

    def line(self, line: dict[str, Any]) -> None:
        self._lines.append(line)

    def write(self, name: str = "events-2026-11-02-0.jsonl", end: str = "") -> Path:
        self.directory.mkdir(exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in self._lines)
        (self.directory / name).write_text(text + end, encoding="utf-8")
        self._lines.clear()
        return self.directory


def _time(hours: float) -> str:
    return (BEGIN + timedelta(hours=hours)).isoformat(timespec="milliseconds")


@pytest.fixture
def log(tmp_path: Path) -> LogWriter:
    return LogWriter(tmp_path / "events")


@pytest.fixture
def write_traffic(tmp_path: Path) -> Callable[..., Path]:
    """Writes an experiment of some size."""
    return lambda **options: traffic(LogWriter(tmp_path / "events"), **options)


def traffic(
    log: LogWriter,
    n_users: int = 600,
    lift: float = 0.0,
    treated: float = 0.5,
    days: float = 7.0,
    seed: int = 0,
) -> Path:
    """Users who differ in how often they search and click, a week before an experiment and in it."""
    random = np.random.default_rng(seed)
    for number in range(n_users):
        variation = int(random.random() < treated)
        habit, searches = random.beta(2, 2), 1 + random.poisson(3, 2)
        for experiment in (False, True):
            for _ in range(searches[int(experiment)]):
                hours = 24 * days * random.random() + 24 * 7 * experiment
                request_id = log.search(
                    f"u{number}",
                    variation if experiment else None,
                    hours,
                    total_ms=float(random.lognormal(2, 0.4)),
                    items=["a", "b", "c"] if random.random() < 0.97 else [],
                )
                if random.random() < min(1.0, habit * (1 + lift * (variation and experiment))):
                    log.action("click", request_id, hours)
                    if random.random() < 0.3:
                        log.action("purchase", request_id, hours, price=round(random.lognormal(3, 0.5), 2))
    return log.write()
