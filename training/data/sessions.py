"""Sessions: one query with the items a user chose and the ones passed over."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from training.data.items import Items, as_item_id
from training.data.rejects import Rejects
from training.data.rows import Row, read_rows
from training.data.splits import QuerySplits, clean_query

Fault = tuple[str, str]  # reason and detail

MAX_SECONDS = 2**53  # beyond it a float no longer holds every second
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positives", pa.list_(pa.int32()), nullable=False),
        pa.field("negatives", pa.list_(pa.int32()), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("user_id", pa.string()),
        pa.field("timestamp", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Sessions:
    """Sessions in columns, all of one length.

    Attributes:
        queries: query texts.
        positives, negatives: item rows, without repeats.
        user_ids: None where unknown.
        timestamps: seconds since 1970, UTC; None where unknown.
        splits: what the file says of its queries' splits.
    """

    queries: list[str] = field(default_factory=list)
    positives: list[list[int]] = field(default_factory=list)
    negatives: list[list[int]] = field(default_factory=list)
    user_ids: list[str | None] = field(default_factory=list)
    timestamps: list[int | None] = field(default_factory=list)
    splits: QuerySplits = field(default_factory=QuerySplits)

    def add(
        self,
        query: str,
        positives: list[int],
        negatives: list[int],
        user_id: str | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Append one session."""
        self.queries.append(query)
        self.positives.append(positives)
        self.negatives.append(negatives)
        self.user_ids.append(user_id)
        self.timestamps.append(timestamp)

    def table(self, splits: list[str]) -> pa.Table:
        """The columns of ``sessions.parquet``, with the split of each session."""
        columns = [
            self.queries,
            self.positives,
            self.negatives,
            splits,
            self.user_ids,
            self.timestamps,
        ]
        return pa.table(columns, schema=SCHEMA)


def load_sessions(path: Path, items: Items, rejects: Rejects) -> Sessions:
    """Read and check sessions: ``query``, ``positives``, and if present ``negatives``, ``user_id``,
    ``timestamp``, ``split``.

    Args:
        path: JSONL, CSV or Parquet; see :func:`item_ids` for how a cell lists items.
        items: the catalogue that positives and negatives must be in.
        rejects: told of every bad row.

    Raises:
        DataError: for a file that cannot be used, or the first bad row where those are fatal.
    """
    sessions = Sessions()
    for line, row in read_rows(path, ("query", "positives"), rejects):
        fault = _add(sessions, row, items)
        if fault:
            rejects.reject(path, line, *fault)
    return sessions


def _add(sessions: Sessions, row: Row, items: Items) -> Fault | None:
    """Append a row that is right; tell what is wrong with any other."""
    fault = query_fault(row["query"])
    if fault:
        return fault
    query = clean_query(row["query"])
    chosen: dict[str, list[int]] = {}
    for name, noun in (("positives", "positive"), ("negatives", "negative")):
        ids = item_ids(row.get(name))
        if ids is None:
            return f"wrong type of {name}", f"{name} {row[name]!r:.60} is not a list of item_ids"
        unknown = [item_id for item_id in ids if item_id not in items.rows]
        if unknown:
            return (
                f"unknown {noun}",
                f"{noun} '{unknown[0]}' is not in {items.path.name} ({len(items.rows):,} items)",
            )
        chosen[name] = [items.rows[item_id] for item_id in ids]
    if not chosen["positives"]:
        return "no positives", f"the session of query '{query}' has no positives"
    both = set(chosen["positives"]) & set(chosen["negatives"])
    if both:
        item_id = items.table["item_id"][min(both)].as_py()
        return "positive and negative", f"item '{item_id}' is in positives and in negatives"
    user_id, timestamp = row.get("user_id"), row.get("timestamp")
    if user_id is not None and not as_item_id(user_id):
        return "wrong type of user_id", f"user_id {user_id!r:.60} is neither text nor an integer"
    seconds = _seconds(timestamp)
    if seconds is None and timestamp is not None:
        return (
            "wrong type of timestamp",
            f"timestamp {timestamp!r:.60} is neither seconds since 1970 nor ISO 8601",
        )
    fault = sessions.splits.fault(query, row.get("split"))
    if fault:
        return fault
    sessions.add(query, chosen["positives"], chosen["negatives"], as_item_id(user_id) or None, seconds)
    return None


def query_fault(value: Any) -> Fault | None:
    """What is wrong with a row's query, None for a good one."""
    if not isinstance(value, str) or not clean_query(value):
        return "empty query", f"query {value!r:.60} is not a text" if value else "the query is empty"
    return None


def item_ids(cell: Any) -> list[str] | None:
    """Read a list of item_ids, None if it is not one.

    A list stands as it is. In text, "[" opens a JSON list; else "|" parts the ids if there is one; else blanks
    do. Repeats count once.
    """
    if cell is None:
        return []
    if isinstance(cell, str):
        try:
            cell = orjson.loads(cell) if cell.startswith("[") else cell.split("|" if "|" in cell else None)
        except orjson.JSONDecodeError:
            return None
    if not isinstance(cell, list):
        return None
    ids = [as_item_id(value) for value in cell]
    return list(dict.fromkeys(ids)) if all(ids) else None


def _seconds(value: Any) -> int | None:
    """Seconds since 1970 of a number or an ISO 8601 text (UTC where it names no zone), None for others."""
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
        return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SECONDS:
        return int(value)
    return None
