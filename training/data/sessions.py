"""Sessions: one query with the items a user chose and the ones passed over."""

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pyarrow as pa

from training.data.items import Items, as_item_id
from training.data.rejects import BadRow, Rejects
from training.data.rows import Row, read_rows
from training.data.splits import QuerySplits, clean_query

MAX_SECONDS = 2**53  # beyond it a float no longer holds every second
SECONDS = re.compile(r"-?\d{1,15}")
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
    """Read and check sessions.

    Columns are ``query`` and ``positives``, and where present ``negatives``, ``user_id``, ``timestamp``,
    ``split``.

    Args:
        path: JSONL, CSV or Parquet; see :func:`item_ids` for how a cell lists items.
        items: the catalogue that positives and negatives must be in.
        rejects: told of every bad row.

    Raises:
        DataError: for a file that cannot be used, or the first bad row where those are fatal.
    """
    sessions = Sessions()
    for line, row in read_rows(path, ("query", "positives"), rejects):
        try:
            _add(sessions, row, items)
        except BadRow as bad:
            rejects.reject(path, line, bad)
    return sessions


def _add(sessions: Sessions, row: Row, items: Items) -> None:
    """Append a row; raises BadRow."""
    query = checked_query(row["query"])
    positives = _item_rows(row["positives"], "positive", items)
    negatives = _item_rows(row.get("negatives"), "negative", items)
    if not positives:
        raise BadRow("no positives", f"the session of query '{query}' has no positives")
    both = set(positives) & set(negatives)
    if both:
        item_id = items.table["item_id"][min(both)].as_py()
        raise BadRow("positive and negative", f"item '{item_id}' is in positives and in negatives")
    user_id, timestamp = _user_id(row.get("user_id")), _seconds(row.get("timestamp"))
    sessions.splits.note(query, row.get("split"))
    sessions.add(query, positives, negatives, user_id, timestamp)


def checked_query(value: object) -> str:
    """The text of a query, cleaned; raises BadRow if there is none."""
    if not isinstance(value, str | None):
        raise BadRow("wrong type of query", f"query {value!r:.60} is not a text")
    query = clean_query(value or "")
    if not query:
        raise BadRow("empty query", "the query is empty")
    return query


def _item_rows(cell: object, noun: str, items: Items) -> list[int]:
    ids = item_ids(cell)
    if ids is None:
        raise BadRow(f"wrong type of {noun}s", f"{noun}s {cell!r:.60} is not a list of item_ids")
    for item_id in ids:
        if item_id not in items.rows:
            raise BadRow(f"unknown {noun}", f"{noun} '{item_id}' is not in {items}")
    return [items.rows[item_id] for item_id in ids]


def item_ids(cell: object) -> list[str] | None:
    """Read a list of item_ids, None if it is not one.

    A list stands as it is. In text, "[" opens a JSON list; else "|" parts the ids where there is one, and
    blanks do where there is none. Repeats count once.
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


def _user_id(value: object) -> str | None:
    if value is None:
        return None
    user_id = as_item_id(value)
    if not user_id:
        raise BadRow("wrong type of user_id", f"user_id {value!r:.60} is neither text nor an integer")
    return user_id


def _seconds(value: object) -> int | None:
    """Seconds since 1970 of a number or an ISO 8601 text (UTC where it names no zone)."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SECONDS:
        return int(value)
    if isinstance(value, str) and SECONDS.fullmatch(value):
        return int(value)
    try:
        moment = datetime.datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError as error:
        detail = f"timestamp {value!r:.60} is neither seconds since 1970 nor ISO 8601"
        raise BadRow("wrong type of timestamp", detail) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp())
