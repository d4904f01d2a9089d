"""An event log moved in time: hours of real traffic become days of simulated traffic."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import orjson

from experiments.errors import ExperimentError
from experiments.event_log import FILES
from reports.writing import write_whole

AFTER_SEARCH = timedelta(seconds=20)  # what shoppers do follows the search by that much


def file_of(day: date) -> str:
    """Name of a day's file, as the service would name it if it were called ``simulated``."""
    return f"events-{day.isoformat()}-simulated-0001.jsonl"


def move_log(log: Path, days: Mapping[str, float], first: date, out: Path) -> None:
    """Write the lines of a service's log with other times, in their order; one file per day of searches.

    Args:
        log: directory of the event log.
        days: when each search was, by request_id, in days since the first midnight.
        first: the first day.
        out: directory to write to; has none of these files.

    Raises:
        ExperimentError: if a file cannot be written.
    """
    midnight = datetime.combine(first, time(), UTC)
    files: dict[date, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(log.glob(FILES)):
        for text in path.read_bytes().splitlines():
            line = orjson.loads(text)
            searched = midnight + timedelta(days=days[line["request_id"]])
            moment = searched if line["type"] == "search" else searched + AFTER_SEARCH
            line["time"] = moment.isoformat(timespec="milliseconds")
            files[searched.date()].append(line)
    for day, lines in files.items():
        lines.sort(key=lambda line: line["time"])  # stable: a cart stays after its click
        data = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
        write_whole(out / file_of(day), data.decode(), ExperimentError)


def check_unwritten(out: Path, first: date, n_days: int) -> None:
    """Refuse a directory that has a log of these days.

    Raises:
        ExperimentError: if it does.
    """
    for number in range(n_days):
        path = out / file_of(first + timedelta(days=number))
        if path.exists():
            raise ExperimentError(f"{path} exists; choose another --out, or another --start to follow it")
