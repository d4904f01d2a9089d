"""Interleaved searches: whose items users clicked.

Each item of an interleaved answer stands there for a team, the variant that put it there, or for neither. A
click is a credit for the team of its item. A search is won by the team with more credits, a user by the team
that won more of the user's searches; users who prefer neither say nothing (Radlinski, Kurup and Joachims,
CIKM 2008; Chapelle et al., ACM TOIS 30(1), 2012).
"""

from dataclasses import dataclass

from scipy.stats import binomtest

from experiments.event_log import EventLog
from experiments.exposed import EVER_AFTER, EVER_BEFORE, Period
from reports.intervals import Interval

LEVEL = 0.05

CREDITS = """
WITH shown AS (
    SELECT request_id, "user", items, interleaved.variants AS variants, interleaved.teams AS teams
    FROM searches
    WHERE interleaved.experiment = $key AND "time" >= $start AND "time" < $end
),
clicked AS (
    SELECT DISTINCT request_id, item_id FROM actions WHERE type = 'click'
),
of_searches AS (
    SELECT s.request_id, s."user", s.variants,
           count(*) FILTER (s.teams[list_position(s.items, c.item_id)] = 0) AS first,
           count(*) FILTER (s.teams[list_position(s.items, c.item_id)] = 1) AS second,
           count(c.item_id) AS clicks
    FROM shown s LEFT JOIN clicked c USING (request_id)
    GROUP BY ALL
),
of_users AS (
    SELECT variants, "user", count(*) AS searches,
           sum(first) AS first, sum(second) AS second, sum(clicks) AS clicks,
           count(*) FILTER (first > second) AS first_won, count(*) FILTER (second > first) AS second_won
    FROM of_searches GROUP BY variants, "user"
)
SELECT variants, sum(searches), sum(first), sum(second), sum(clicks),
       sum(first_won), sum(second_won), count(*),
       count(*) FILTER (first_won > second_won), count(*) FILTER (second_won > first_won)
FROM of_users GROUP BY variants ORDER BY variants
"""


@dataclass(frozen=True)
class Interleaving:
    """Two variants against one another, in the same answers.

    Attributes:
        variants: the teams.
        searches: interleaved ones.
        credits: clicks on items of each team.
        shared_clicks: on items of neither.
        searches_won: by each.
        users: who had interleaved searches.
        users_won: by each.
        win_share: of the second variant among users who prefer one, with Wilson's 95% interval; None without
            such users.
        p: of no preference (exact binomial test).
    """

    variants: tuple[str, str]
    searches: int
    credits: tuple[int, int]
    shared_clicks: int
    searches_won: tuple[int, int]
    users: int
    users_won: tuple[int, int]
    win_share: Interval | None
    p: float

    @property
    def winner(self) -> str | None:
        """The variant that users prefer, where chance does not explain it."""
        if self.win_share is None or self.p >= LEVEL:
            return None
        return self.variants[self.win_share.mean > 0.5]


def interleavings(log: EventLog, key: str, period: Period) -> list[Interleaving]:
    """Count the credits of an experiment's interleaved searches, one result per pair of variants."""
    within = {"start": period.start or EVER_BEFORE, "end": period.end or EVER_AFTER}
    return [_result(*row) for row in log.rows(CREDITS, key=key, **within)]


def _result(
    variants: list[str],
    searches: int,
    first: int,
    second: int,
    clicks: int,
    first_won: int,
    second_won: int,
    users: int,
    users_first: int,
    users_second: int,
) -> Interleaving:
    win_share, p = preference(users_first, users_second)
    return Interleaving(
        (variants[0], variants[1]),
        searches,
        (first, second),
        clicks - first - second,
        (first_won, second_won),
        users,
        (users_first, users_second),
        win_share,
        p,
    )


def preference(first: int, second: int) -> tuple[Interval | None, float]:
    """Share of the second among those who prefer one, with its interval, and the p-value of no preference."""
    if first + second == 0:
        return None, 1.0
    test = binomtest(second, first + second)
    ends = test.proportion_ci(0.95, method="wilson")
    return Interval(float(test.statistic), float(ends.low), float(ends.high)), float(test.pvalue)
