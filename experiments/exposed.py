"""Who took part in an experiment, what they saw and did: one row per user."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from experiments.event_log import EventLog

CONTROL = 0  # the variation that others are compared with
SESSION_GAP_MINUTES = 30
EVER_BEFORE, EVER_AFTER = datetime.min, datetime.max

OUTCOMES = """
SELECT
    request_id,
    count(*) FILTER (type = 'click') AS clicks,
    count(*) FILTER (type = 'purchase') AS purchases,
    coalesce(sum(quantity * price) FILTER (type = 'purchase'), 0) AS revenue
FROM actions GROUP BY request_id
"""

EXPOSED = """
SELECT request_id, "time", "user", variant, len(items) AS n_items, total_ms,
       CAST(experiments[$key] AS INTEGER) AS variation
FROM searches
WHERE experiments[$key] IS NOT NULL
      AND (interleaved IS NULL OR interleaved.experiment IS DISTINCT FROM $key)
      AND "time" >= $start AND "time" < $end
"""

MEMBERS = """
SELECT "user", min(variation) AS variation, count(DISTINCT variation) AS n_variations
FROM exposed GROUP BY "user"
"""

BEFORE = """
SELECT request_id, "time", "user", len(items) AS n_items
FROM searches
WHERE "time" >= $start AND "time" < $end
"""

PER_USER = """
WITH acted AS (
    SELECT s."user", s."time", s.request_id, s.n_items,
           coalesce(o.clicks, 0) AS clicks, coalesce(o.purchases, 0) AS purchases,
           coalesce(o.revenue, 0) AS revenue, o.request_id IS NOT NULL AS has_acted
    FROM query_table($searches) s LEFT JOIN outcomes o USING (request_id)
),
spaced AS (
    SELECT *, coalesce("time" - lag("time") OVER in_time > to_minutes($gap_minutes), true) AS begins
    FROM acted
    WINDOW in_time AS (PARTITION BY "user" ORDER BY "time", request_id)
),
numbered AS (
    SELECT *, sum(CAST(begins AS INTEGER)) OVER in_time AS session
    FROM spaced
    WINDOW in_time AS (PARTITION BY "user" ORDER BY "time", request_id ROWS UNBOUNDED PRECEDING)
),
sessions AS (
    SELECT "user", count(*) AS searches, count(*) FILTER (clicks > 0) AS clicked,
           count(*) FILTER (purchases > 0) AS bought, sum(revenue) AS revenue,
           count(*) FILTER (n_items = 0) AS empty, NOT bool_or(has_acted) AS is_abandoned
    FROM numbered GROUP BY "user", session
)
SELECT "user",
       CAST(sum(searches) AS DOUBLE) AS searches,
       CAST(sum(clicked) AS DOUBLE) AS clicked,
       CAST(sum(bought) AS DOUBLE) AS bought,
       CAST(sum(bought) > 0 AS DOUBLE) AS buyers,
       CAST(sum(revenue) AS DOUBLE) AS revenue,
       CAST(sum(empty) AS DOUBLE) AS empty,
       CAST(count(*) AS DOUBLE) AS sessions,
       CAST(count(*) FILTER (is_abandoned) AS DOUBLE) AS abandoned
FROM sessions GROUP BY "user"
"""

USERS = """
SELECT m.variation,
       now.* EXCLUDE ("user"),
       coalesce(COLUMNS(pre.* EXCLUDE ("user")), 0) AS 'pre_\\0'
FROM members m JOIN of_users now USING ("user") LEFT JOIN of_users_before pre USING ("user")
WHERE m.n_variations = 1
ORDER BY "user"
"""

DAYS = """
SELECT CAST(floor(epoch(e."time" - $start) / 86400) AS INTEGER) AS day, e.variation,
       count(*) AS searches, count(*) FILTER (o.clicks > 0) AS clicked
FROM exposed e JOIN members m USING ("user") LEFT JOIN outcomes o USING (request_id)
WHERE m.n_variations = 1
GROUP BY day, e.variation, "user"
ORDER BY day, e.variation
"""

LATENCIES = """
SELECT m.variation, dense_rank() OVER (ORDER BY "user") AS "user", e.total_ms
FROM exposed e JOIN members m USING ("user")
WHERE m.n_variations = 1 AND e.total_ms IS NOT NULL
"""

ANSWERED = """
SELECT e.variation, e.variant, count(*) AS searches
FROM exposed e GROUP BY ALL ORDER BY e.variation, searches DESC, e.variant
"""


@dataclass(frozen=True)
class Period:
    """Which searches count.

    Attributes:
        start: the first moment, UTC; None for the experiment's first search.
        end: the moment after the last; None for all.
        pre_days: how long before the start users are known by (CUPED).
    """

    start: datetime | None = None
    end: datetime | None = None
    pre_days: float = 14.0


@dataclass(frozen=True)
class Exposed:
    """The users of an experiment.

    Attributes:
        first, last: times of the first and the last search, UTC.
        users: one row per user that saw one variation: ``variation`` and, as float64, what ``PER_USER``
            counts; with ``pre_`` in front, the same before the experiment.
        n_crossed: users that saw several variations; they are in no row.
        answered: by variation, how many searches each variant answered, the most frequent first.
        days: columns day (24 hours, from ``first``), variation, searches and clicked; a row per user and day.
        latencies: columns variation, user (a number) and total_ms, one row per search.
    """

    first: datetime
    last: datetime
    users: pa.Table
    n_crossed: int
    answered: dict[int, dict[str, int]]
    days: dict[str, NDArray[Any]]
    latencies: dict[str, NDArray[Any]]

    @property
    def is_comparable(self) -> bool:
        """Whether the control and another variation have users."""
        present = set(self.users["variation"].to_pylist())
        return CONTROL in present and len(present) > 1

    @property
    def n_days(self) -> float:
        """From the first search to the last."""
        return (self.last - self.first) / timedelta(days=1)


def exposed(log: EventLog, key: str, period: Period) -> Exposed | None:
    """Find who took part in an experiment and what they did; None where nobody did.

    Args:
        log: the event log.
        key: of the experiment.
        period: which searches count.
    """
    log.define("outcomes", OUTCOMES)
    within = {"start": period.start or EVER_BEFORE, "end": period.end or EVER_AFTER}
    log.define("exposed", EXPOSED, key=key, **within)
    first, last = log.rows('SELECT min("time"), max("time") FROM exposed')[0]
    if first is None:
        return None
    log.define("members", MEMBERS)
    started = period.start or first
    before = {"start": started - timedelta(days=period.pre_days), "end": started}
    log.define("before", BEFORE, **before)
    log.define("of_users", PER_USER, searches="exposed", gap_minutes=SESSION_GAP_MINUTES)
    log.define("of_users_before", PER_USER, searches="before", gap_minutes=SESSION_GAP_MINUTES)
    answered: dict[int, dict[str, int]] = {}
    for variation, variant, searches in log.rows(ANSWERED):
        answered.setdefault(variation, {})[variant] = searches
    return Exposed(
        first,
        last,
        pa.table(_plain(log.columns(USERS))),
        log.rows("SELECT count(*) FROM members WHERE n_variations > 1")[0][0],
        answered,
        _plain(log.columns(DAYS, start=first)),
        _plain(log.columns(LATENCIES)),
    )


def _plain(columns: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Arrays without masks; no value is missing."""
    return {name: np.ma.getdata(column) for name, column in columns.items()}
