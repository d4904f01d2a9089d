"""Judgments: how relevant an item is to a query, by human raters or by a synthetic shop that knows."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from training.data.errors import DataError
from training.data.items import Items, as_item_id
from training.data.rejects import BadRow, Rejects
from training.data.rows import Row, read_rows
from training.data.sessions import Sessions, checked_query
from training.data.splits import QuerySplits

ESCI = {"E": 3.0, "S": 2.0, "C": 1.0, "I": 0.0}  # exact, substitute, complement, irrelevant

SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("item", pa.int32(), nullable=False),
        pa.field("grade", pa.float32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Judgments:
    """Grades of (query, item).

    Attributes:
        grades: query → {item row: grade}, both in the order of the file.
        splits: what the file says of its queries' splits.
    """

    grades: dict[str, dict[int, float]] = field(default_factory=dict)
    splits: QuerySplits = field(default_factory=QuerySplits)

    @property
    def n_grades(self) -> int:
        """Judged pairs."""
        return sum(map(len, self.grades.values()))

    def sessions(self, positive_from: float, negative_to: float) -> Sessions:
        """Make one session of each query with a positive item.

        Args:
            positive_from: items with at least this grade are positives.
            negative_to: items with at most this grade are negatives; those between are left out.
        """
        sessions = Sessions()
        for query, grades in self.grades.items():
            positives = [item for item, grade in grades.items() if grade >= positive_from]
            if positives:
                negatives = [item for item, grade in grades.items() if grade <= negative_to]
                sessions.add(query, positives, negatives)
        return sessions

    def table(self, split_of_query: dict[str, str]) -> pa.Table:
        """The columns of ``judgments.parquet``, each query's rows together."""
        columns: tuple[list[Any], ...] = ([], [], [], [])
        for query, grades in self.grades.items():
            columns[0].extend([query] * len(grades))
            columns[1].extend(grades)
            columns[2].extend(grades.values())
            columns[3].extend([split_of_query[query]] * len(grades))
        return pa.table(list(columns), schema=SCHEMA)


def load_judgments(path: Path, items: Items, rejects: Rejects) -> Judgments:
    """Read and check judgments: ``query``, ``item_id``, ``grade``, and if present ``split``.

    Args:
        path: JSONL, CSV or Parquet; a grade is a number or one of ESCI's letters (E 3, S 2, C 1, I 0).
        items: the catalogue that judged items must be in.
        rejects: told of every bad row.

    Raises:
        DataError: for a file that cannot be used, no judgments, or the first bad row where those are fatal.
    """
    judgments = Judgments()
    for line, row in read_rows(path, ("query", "item_id", "grade"), rejects):
        try:
            _add(judgments, row, items)
        except BadRow as bad:
            rejects.reject(path, line, bad)
    if not judgments.grades:
        raise DataError(f"{path} has no valid judgments; give one at least or leave out --judgments")
    return judgments


def _add(judgments: Judgments, row: Row, items: Items) -> None:
    """Take a row; raises BadRow."""
    query, item_id, grade = checked_query(row["query"]), as_item_id(row["item_id"]), _grade(row["grade"])
    if item_id not in items.rows:
        raise BadRow("unknown item", f"item '{item_id}' is not in {items}")
    item = items.rows[item_id]
    if item in judgments.grades.get(query, {}):
        raise BadRow("judged twice", f"query '{query}' judges item '{item_id}' a second time")
    judgments.splits.note(query, row.get("split"))
    judgments.grades.setdefault(query, {})[item] = grade


def _grade(value: object) -> float:
    if isinstance(value, str) and value.strip().upper() in ESCI:
        return ESCI[value.strip().upper()]
    try:
        grade = float(value) if isinstance(value, str | int | float) else math.nan
    except ValueError:
        grade = math.nan
    if not math.isfinite(grade) or isinstance(value, bool):
        raise BadRow("wrong grade", f"grade {value!r:.60} is neither a number nor one of E, S, C, I")
    return grade
