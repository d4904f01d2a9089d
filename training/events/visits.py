"""Searches become visits: what a shopper saw of a query and chose of it, without robots and reloads."""

from dataclasses import dataclass

import duckdb

from training.data.splits import query_key

QUERIES = """
CREATE TABLE queries AS
SELECT query, query_key(query) AS key FROM (SELECT DISTINCT query FROM searches)
"""

KEPT = """
CREATE TABLE kept AS
SELECT searches.*, key,
    "time" - lag("time") OVER (PARTITION BY shopper, key ORDER BY "time", request_id) AS since_the_last
FROM searches JOIN queries USING (query)
WHERE key <> '' AND (shopper, "time"::DATE) NOT IN (
    SELECT (shopper, "time"::DATE) FROM searches GROUP BY ALL HAVING count(*) > $max_searches_per_day
)
"""

# The page of a visit is the longest that was shown: who asks for more gets the same and more.
MEMBERS = """
CREATE TABLE members AS
WITH numbered AS (
    SELECT *, count(*) FILTER (since_the_last IS NULL OR since_the_last > to_minutes($reload_minutes))
        OVER (PARTITION BY shopper, key ORDER BY "time", request_id) AS number
    FROM kept
)
SELECT * EXCLUDE (since_the_last, number), first_value(request_id) OVER (
    PARTITION BY shopper, key, number ORDER BY len(items) DESC, "time", request_id
) AS visit
FROM numbered
"""

VISITS = """
CREATE TABLE visits AS SELECT visit, key, query, "time", items FROM members WHERE visit = request_id
"""

CHOSEN = """
CREATE TABLE chosen AS
SELECT visit, item_id, max(strength) AS strength, list_position(any_value(visits.items), item_id) AS position
FROM choices JOIN members USING (request_id) JOIN visits USING (visit)
GROUP BY visit, item_id
"""

IMPRESSIONS = """
CREATE TABLE impressions AS
WITH shown AS (
    SELECT visit, key, unnest(items) AS item_id, generate_subscripts(items, 1) AS position FROM visits
)
SELECT visit, key, item_id, position, coalesce(strength, 0) AS strength,
    coalesce(position < last, false) AS is_passed
FROM shown
LEFT JOIN (SELECT visit, item_id, strength FROM chosen) USING (visit, item_id)
LEFT JOIN (SELECT visit, max(position) AS last FROM chosen GROUP BY visit) USING (visit)
"""

COUNTS = """
SELECT
    (SELECT count(*) FROM searches) - (SELECT count(*) FROM members),
    (SELECT count(*) FROM members) - (SELECT count(*) FROM visits),
    (SELECT count(*) FROM visits),
    (SELECT count(*) FROM impressions),
    (SELECT count(*) FROM chosen WHERE position IS NOT NULL),
    (SELECT count(*) FROM chosen WHERE position IS NULL)
"""


@dataclass(frozen=True)
class VisitCounts:
    """What is left of the searches.

    Attributes:
        of_robots: searches that are left out.
        reloads: searches that repeat one of the same visit.
        visits: the others.
        impressions: items shown in them.
        chosen: of these.
        chosen_unseen: items chosen that were not shown; they are left out.
    """

    of_robots: int
    reloads: int
    visits: int
    impressions: int
    chosen: int
    chosen_unseen: int


def gather_visits(
    database: duckdb.DuckDBPyConnection, reload_minutes: int, max_searches_per_day: int
) -> VisitCounts:
    """Make the tables ``visits`` and ``impressions`` of ``searches`` and ``choices``.

    ``visits`` has visit, key (equal for queries that are one to the splits), query (as it was typed), time
    and items. ``impressions`` has visit, key, item_id, position, strength of the choice (0 for none) and
    is_passed: whether something further down was chosen, so that this was looked at.

    Args:
        database: as :func:`training.events.log.read_log` leaves it.
        reload_minutes: a search of the same query by the same shopper this soon after the last is no new one.
        max_searches_per_day: shoppers with more are robots, that day.
    """
    database.create_function("query_key", query_key, ["VARCHAR"], "VARCHAR")
    database.execute(QUERIES)
    database.execute(KEPT, {"max_searches_per_day": max_searches_per_day})
    database.execute(MEMBERS, {"reload_minutes": reload_minutes})
    database.execute(VISITS)
    database.execute(CHOSEN)
    database.execute(IMPRESSIONS)
    counts = database.execute(COUNTS).fetchone()
    assert counts is not None  # noqa: S101 — a select of values has a row
    return VisitCounts(*counts)
