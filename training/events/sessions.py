"""Visits become sessions: what was chosen, and what was looked at and passed over."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from training.data.atomic import scratch_beside
from training.data.errors import DataError
from training.data.items import as_item_id
from training.data.rejects import Rejects
from training.data.rows import read_rows
from training.events.examination import PairCounts, estimate_examination
from training.events.log import read_log
from training.events.visits import gather_visits

By = Literal["query", "visit"]

MAX_WEIGHT = 10.0  # of a choice, however rarely its position is examined
ROWS_AT_ONCE = 10_000

PAIRS = """
WITH cells AS (
    SELECT key, item_id, position, count(*) AS shown, count(*) FILTER (strength > 0) AS chosen
    FROM impressions GROUP BY ALL
),
moved AS (
    SELECT key, item_id, row_number() OVER () - 1 AS pair
    FROM cells GROUP BY key, item_id HAVING count(*) > 1 AND sum(chosen) > 0
)
SELECT pair, position, shown::DOUBLE AS shown, chosen::DOUBLE AS chosen
FROM cells JOIN moved USING (key, item_id)
"""

PLACES = """
SELECT count(*) AS shown, count(*) FILTER (strength > 0) AS chosen
FROM impressions GROUP BY position ORDER BY position
"""

POSITIONS = """
CREATE TABLE positions AS SELECT position, greatest(share, 0.000001)::DECIMAL(9, 6) AS examination FROM shares
"""

# What a choice proves was looked at counts as that, the rest by its position. Sums of decimals are the same
# in any order.
CANDIDATES = """
CREATE TABLE candidates AS
WITH judged AS (
    SELECT {unit} AS unit, item_id,
        max(strength) AS strength,
        count(*) FILTER (strength > 0) AS chosen,
        count(*) FILTER (is_passed AND strength = 0) AS passed,
        sum(CASE WHEN strength > 0 OR is_passed THEN 1 ELSE examination END) AS examined,
        avg(least(1 / examination, $max_weight)::DECIMAL(9, 3)) FILTER (strength > 0) AS weight
    FROM impressions JOIN positions USING (position)
    GROUP BY ALL
),
rated AS (
    SELECT *, sum(chosen) OVER (PARTITION BY unit) / sum(examined) OVER (PARTITION BY unit) AS usual
    FROM judged
)
SELECT *, strength > 1 OR (strength = 1 AND chosen / examined >= usual) AS is_positive,
    strength = 0 AND examined >= $min_examined AS is_negative
FROM rated SEMI JOIN catalogue USING (item_id)
"""

UNITS = """
CREATE TABLE units AS
WITH texts AS (
    SELECT {unit} AS unit, key, query, count(*) AS visits, max("time") AS "time" FROM visits GROUP BY ALL
)
SELECT unit, any_value(key) AS key, arg_max(query, (visits, query)) AS query, max("time") AS "time"
FROM texts GROUP BY unit
"""

SESSIONS = """
WITH lists AS (
    SELECT unit,
        list(item_id ORDER BY strength DESC, chosen DESC, item_id) FILTER (is_positive) AS positives,
        list(round(weight, 3) ORDER BY strength DESC, chosen DESC, item_id) FILTER (is_positive) AS weights,
        list(item_id ORDER BY passed DESC, examined DESC, item_id) FILTER (is_negative) AS negatives
    FROM candidates GROUP BY unit HAVING count(*) FILTER (is_positive) > 0
),
keys AS (SELECT key, min("time") AS seen, count(*) AS visits FROM visits GROUP BY key),
cut AS (SELECT quantile_disc("time", 1 - $valid_share) AS until FROM visits)
SELECT query, positives, coalesce(negatives[:$max_negatives], []) AS negatives, weights,
    epoch("time")::BIGINT AS "timestamp",
    CASE WHEN seen > (SELECT until FROM cut) THEN 'valid' ELSE 'train' END AS split
FROM lists JOIN units USING (unit) JOIN keys USING (key)
WHERE visits >= $min_visits
ORDER BY "time", query, unit
"""


@dataclass(frozen=True)
class SessionSettings:
    """How sessions are made.

    Attributes:
        by: one session for each query, or for each visit with a choice.
        min_visits: queries with fewer are left out.
        min_examined: expected looks from which on an item that was never chosen is a negative.
        max_negatives: most of a session.
        reload_minutes: the same query of the same shopper this soon after the last is no new visit.
        max_searches_per_day: shoppers with more are robots.
        valid_share: of the visits, the latest; queries that come up there for the first time are valid.
            0 leaves the split to ``radsearch prepare``.
        memory_gb: of the database; a larger log goes through the disk beside the output. None takes most of
            what the machine has.
    """

    by: By = "query"
    min_visits: int = 1
    min_examined: float = 1.0
    max_negatives: int = 20
    reload_minutes: int = 10
    max_searches_per_day: int = 300
    valid_share: float = 0.1
    memory_gb: float | None = None


def write_sessions(log: Path, items: Path, out: Path, settings: SessionSettings) -> dict[str, Any]:
    """Turn an event log into a sessions file for ``radsearch prepare``.

    Args:
        log: directory of the event log.
        items: the catalogue, in a format of ``radsearch prepare``; other items are left out.
        out: JSONL file; replaced when all of it is there.
        settings: how.

    Returns:
        What was read, left out and made, with the examination of each position.

    Raises:
        DataError: if the log or the catalogue cannot be used, or nothing was chosen.
    """
    if out.suffix != ".jsonl":
        raise DataError(f"{out} is not named .jsonl; give --out FILE.jsonl")
    with scratch_beside(out) as scratch, duckdb.connect(str(scratch / "events.duckdb")) as database:
        if settings.memory_gb is not None:
            database.execute(f"SET memory_limit = '{settings.memory_gb} GB'")
        counts = read_log(log, database)
        _read_catalogue(items, database)
        visits = gather_visits(database, settings.reload_minutes, settings.max_searches_per_day)
        examination = _estimate(database)
        _judge(database, examination, settings)
        made = _write(_rows(database, settings), scratch / "sessions.jsonl")
        if not made["sessions"]:
            raise DataError(f"{log} has no choice of an item of {items}; nothing was written")
        (scratch / "sessions.jsonl").replace(out)
    return {
        "log": asdict(counts),
        "visits": asdict(visits),
        "examination": [round(share, 4) for share in examination.tolist()],
        **made,
        "settings": asdict(settings),
    }


def _read_catalogue(path: Path, database: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``catalogue`` of the item_ids that training will know."""
    ids = {as_item_id(row["item_id"]) for _, row in read_rows(path, ("item_id",), Rejects("skip"))}
    arrow = pa.table({"item_id": pa.array(sorted(ids), pa.string())})
    database.register("item_ids", arrow)
    database.execute("CREATE TABLE catalogue AS SELECT * FROM item_ids")
    database.unregister("item_ids")


def _estimate(database: duckdb.DuckDBPyConnection) -> NDArray[np.float64]:
    """Examination of every position there was: float64 [n_positions]."""
    columns = database.execute(PAIRS).fetchnumpy()
    pairs, positions = (np.asarray(columns[name], np.int64) for name in ("pair", "position"))
    shown, chosen = (np.asarray(columns[name], np.float64) for name in ("shown", "chosen"))
    totals = database.execute(PLACES).fetchnumpy()
    shown_at, chosen_at = (np.asarray(totals[name], np.float64) for name in ("shown", "chosen"))
    return estimate_examination(PairCounts(pairs, positions, shown, chosen), shown_at, chosen_at)


def _judge(
    database: duckdb.DuckDBPyConnection, examination: NDArray[np.float64], settings: SessionSettings
) -> None:
    """Make the tables ``candidates`` and ``units``: what items are to a query or a visit."""
    unit = "key" if settings.by == "query" else "visit"
    shares = pa.table({"position": np.arange(1, len(examination) + 1), "share": examination})
    database.register("shares", shares)
    database.execute(POSITIONS)
    database.unregister("shares")
    database.execute(
        CANDIDATES.format(unit=unit), {"max_weight": MAX_WEIGHT, "min_examined": settings.min_examined}
    )
    database.execute(UNITS.format(unit=unit))


def _rows(database: duckdb.DuckDBPyConnection, settings: SessionSettings) -> Iterator[dict[str, Any]]:
    """Sessions in the order of time."""
    answer = database.execute(
        SESSIONS,
        {
            "max_negatives": settings.max_negatives,
            "valid_share": settings.valid_share,
            "min_visits": settings.min_visits,
        },
    )
    names = [column[0] for column in answer.description or ()]
    while rows := answer.fetchmany(ROWS_AT_ONCE):
        for row in rows:
            session = dict(zip(names, row, strict=True))
            if not settings.valid_share:
                del session["split"]
            yield session


def _write(sessions: Iterator[dict[str, Any]], path: Path) -> dict[str, int]:
    """Write sessions as JSON lines; tell how many, and of what."""
    made = dict.fromkeys(("sessions", "valid", "positives", "negatives", "without_negatives"), 0)
    with path.open("wb") as file:
        for session in sessions:
            file.write(orjson.dumps(session, option=orjson.OPT_APPEND_NEWLINE))
            made["sessions"] += 1
            made["valid"] += session.get("split") == "valid"
            made["positives"] += len(session["positives"])
            made["negatives"] += len(session["negatives"])
            made["without_negatives"] += not session["negatives"]
    return made
