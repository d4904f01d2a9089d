"""The event log as tables of a database: searches and choices, each once.

``docs/events.md`` says what the lines hold. Lines without ``schema`` are of the first release, which had
the same fields as far as they are read here.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import duckdb

from training.data.errors import DataError

FILES = "events-*.jsonl"
NEWEST_SCHEMA = 1
MAX_LINE_BYTES = 64 * 2**20

FIELDS = {
    "schema": "INTEGER",
    "time": "TIMESTAMPTZ",
    "type": "VARCHAR",
    "request_id": "VARCHAR",
    "user_id": "VARCHAR",
    "anonymous_id": "VARCHAR",
    "query": "VARCHAR",
    "items": ["VARCHAR"],
    "item_id": "VARCHAR",
    "event_id": "VARCHAR",
}
"""What is read of a line; the rest of it is for others."""

LINES = """
CREATE TABLE lines AS
SELECT json IS NOT NULL AS is_json, unnest(from_json(json, $fields))
FROM read_json_objects($files, format = 'newline_delimited', ignore_errors = true,
                       maximum_object_size = $max_line_bytes)
"""

SEARCHES = """
CREATE TABLE searches AS
SELECT DISTINCT ON (request_id)
    request_id,
    "time" AT TIME ZONE 'UTC' AS "time",
    coalesce(user_id, anonymous_id, request_id) AS shopper,
    query,
    items
FROM lines
WHERE type = 'search' AND request_id IS NOT NULL AND "time" IS NOT NULL AND query IS NOT NULL
    AND len(items) > 0
ORDER BY request_id, "time"
"""

CHOICES = """
CREATE TABLE choices AS
SELECT request_id, item_id, CASE type WHEN 'purchase' THEN 3 WHEN 'cart' THEN 2 ELSE 1 END AS strength
FROM lines
WHERE type IN ('click', 'cart', 'purchase') AND request_id IS NOT NULL AND item_id IS NOT NULL
QUALIFY event_id IS NULL OR row_number() OVER (PARTITION BY event_id ORDER BY "time") = 1
"""

COUNTS = """
SELECT
    count(*) FILTER (is_json),
    count(*) FILTER (NOT is_json),
    (SELECT count(*) FROM searches),
    (SELECT count(*) FROM choices),
    count(*) FILTER (type IN ('click', 'cart', 'purchase')) - (SELECT count(*) FROM choices),
    (SELECT count(*) FROM choices ANTI JOIN searches USING (request_id))
FROM lines
"""


@dataclass(frozen=True)
class LogCounts:
    """What was read.

    Attributes:
        lines: that are JSON.
        unreadable: lines that are not, such as the half line of a process that was killed.
        searches: that showed something, one per request_id.
        events: clicks, carts and purchases, one per event_id where they have one.
        repeated_events: further lines of an event_id.
        events_of_no_search: whose request_id no search has; they are left out.
    """

    lines: int
    unreadable: int
    searches: int
    events: int
    repeated_events: int
    events_of_no_search: int


def read_log(directory: Path, database: duckdb.DuckDBPyConnection) -> LogCounts:
    """Read a log into the tables ``searches`` and ``choices``.

    ``searches`` has request_id, time (UTC), shopper, query and items, best first. ``choices`` has request_id,
    item_id and strength: 1 a click, 2 a cart, 3 a purchase.

    Args:
        directory: of the log.
        database: gets the tables; one on disk takes a log that is larger than memory.

    Raises:
        DataError: if there is no log, or one of a newer release.
    """
    if not any(directory.glob(FILES)):
        raise DataError(f"{directory} has no {FILES}; pass the directory that 'radsearch serve' logs to")
    database.execute("SET TimeZone = 'UTC'")
    database.execute(
        LINES,
        {"fields": json.dumps(FIELDS), "files": str(directory / FILES), "max_line_bytes": MAX_LINE_BYTES},
    )
    newest = _number(database, "SELECT max(schema) FROM lines")
    if newest > NEWEST_SCHEMA:
        raise DataError(f"{directory} has lines of schema {newest}; use the release that wrote them")
    database.execute(SEARCHES)
    database.execute(CHOICES)
    counts = database.execute(COUNTS).fetchone()
    assert counts is not None  # noqa: S101 — an aggregate has a row
    database.execute("DROP TABLE lines")
    return LogCounts(*counts)


def _number(database: duckdb.DuckDBPyConnection, query: str) -> int:
    row = database.execute(query).fetchone()
    return int(row[0]) if row and row[0] is not None else 0
