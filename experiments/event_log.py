"""The event log as tables: searches once each, and what shoppers did after them.

``docs/events.md`` says what the lines hold. A line without ``schema`` is one of the first release, which knew
one experiment per search.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from experiments.errors import ExperimentError

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
    "experiments": "MAP(VARCHAR, INTEGER)",
    "experiment": "VARCHAR",
    "variation": "INTEGER",
    "variant": "VARCHAR",
    "items": ["VARCHAR"],
    "total_ms": "DOUBLE",
    "interleaved": {"experiment": "VARCHAR", "variants": ["VARCHAR"], "teams": ["INTEGER"]},
    "item_id": "VARCHAR",
    "event_id": "VARCHAR",
    "quantity": "DOUBLE",
    "price": "DOUBLE",
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
    coalesce(user_id, anonymous_id) AS "user",
    CASE WHEN experiments IS NOT NULL THEN experiments
         WHEN experiment IS NOT NULL THEN MAP {experiment: variation}
         ELSE MAP {} END AS experiments,
    variant,
    items,
    total_ms,
    interleaved
FROM lines
WHERE type = 'search' AND request_id IS NOT NULL AND "time" IS NOT NULL
      AND coalesce(user_id, anonymous_id) IS NOT NULL
ORDER BY request_id, "time"
"""

ACTIONS = """
CREATE TABLE actions AS
SELECT type, request_id, item_id, coalesce(quantity, 1) AS quantity, price
FROM lines
WHERE type IN ('click', 'cart', 'purchase') AND request_id IS NOT NULL
QUALIFY event_id IS NULL OR row_number() OVER (PARTITION BY event_id ORDER BY "time") = 1
"""

COUNTS = """
WITH kept AS (
    SELECT (SELECT count(*) FROM searches) AS searches, (SELECT count(*) FROM actions) AS actions
)
SELECT
    count(*) FILTER (is_json),
    count(*) FILTER (NOT is_json),
    any_value(searches),
    count(*) FILTER (type = 'search') - any_value(searches),
    any_value(actions),
    count(*) FILTER (type IN ('click', 'cart', 'purchase')) - any_value(actions),
    (SELECT count(*) FROM actions ANTI JOIN searches USING (request_id)),
    max(schema)
FROM lines, kept
"""


@dataclass(frozen=True)
class LogCounts:
    """What was read, and what of it counts.

    Attributes:
        lines: that are JSON.
        unreadable: lines that are not, such as the half line of a process that was killed.
        searches: exposures, one per request_id.
        searches_left_out: repeats of one, and those without time or user.
        actions: clicks, carts and purchases, one per event_id where they have one.
        actions_left_out: repeats of one.
        actions_without_search: actions whose request_id no search has; they are part of no figure.
    """

    lines: int
    unreadable: int
    searches: int
    searches_left_out: int
    actions: int
    actions_left_out: int
    actions_without_search: int


class EventLog:
    """An event log, read once.

    Tables: ``searches`` (request_id, time as UTC, user, experiments by key, variant, items, total_ms,
    interleaved) and ``actions`` (type, request_id, item_id, quantity, price). A user is a user_id, or an
    anonymous_id where there is none.

    Args:
        directory: of the log.

    Raises:
        ExperimentError: if there is no log, or one of a newer release.
    """

    def __init__(self, directory: Path) -> None:
        if not any(directory.glob(FILES)):
            raise ExperimentError(f"{directory} has no {FILES}; pass the directory that 'serve' logs to")
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        self._database.execute(
            LINES,
            {
                "fields": json.dumps(FIELDS),
                "files": str(directory / FILES),
                "max_line_bytes": MAX_LINE_BYTES,
            },
        )
        self._database.execute(SEARCHES)
        self._database.execute(ACTIONS)
        *counts, newest = self.rows(COUNTS)[0]
        if newest is not None and newest > NEWEST_SCHEMA:
            raise ExperimentError(
                f"{directory} has lines of schema {newest}; use the release that wrote them"
            )
        self.counts = LogCounts(*counts)
        self._database.execute("DROP TABLE lines")

    def rows(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        """Answer a query with its rows."""
        return self._database.execute(query, parameters or None).fetchall()

    def columns(self, query: str, **parameters: object) -> dict[str, Any]:
        """Answer a query with one numpy array per column."""
        return self._database.execute(query, parameters or None).fetchnumpy()

    def define(self, table: str, query: str, **parameters: object) -> None:
        """Keep the answer to a query as a table, in place of one of that name."""
        self._database.execute(f"CREATE OR REPLACE TABLE {table} AS {query}", parameters or None)

    def experiments(self) -> Sequence[str]:
        """Keys of all experiments that a search was part of, sorted."""
        keys = self.rows(
            """
            SELECT DISTINCT unnest(list_append(map_keys(experiments), interleaved.experiment)) AS key
            FROM searches ORDER BY key
            """
        )
        return [key for (key,) in keys if key is not None]
