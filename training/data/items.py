"""The catalogue: items with ``item_id``, ``title`` and typed attributes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sid import item_text
from training.data.attributes import attribute_column, is_attribute, parse_text_column
from training.data.errors import DataError
from training.data.rejects import BadRow, Rejects
from training.data.rows import Row, file_format, read_rows

POPULARITY = "popularity"


@dataclass(frozen=True)
class Items:
    """All items of a catalogue.

    Attributes:
        path: the file they came from.
        table: ``item_id``, ``title`` (strings), then the attributes in the order they were first met.
        rows: item row by item_id.
    """

    path: Path
    table: pa.Table
    rows: dict[str, int]

    def __str__(self) -> str:
        return f"{self.path.name} ({len(self.rows):,} items)"


def load_items(path: Path, rejects: Rejects) -> Items:
    """Read and check a catalogue.

    Args:
        path: JSONL, CSV (either also as ``.gz``) or Parquet; an integer item_id becomes a string.
        rejects: told of every bad row.

    Raises:
        DataError: for a file that cannot be used, no items, or the first bad row where those are fatal.
    """
    rows: dict[str, int] = {}
    columns: dict[str, list[Any]] = {"item_id": [], "title": []}
    for line, row in read_rows(path, ("item_id", "title"), rejects):
        if POPULARITY in row:
            raise DataError(
                f"{path.name}:{line}: the attribute '{POPULARITY}' is reserved for the count of training "
                "positives; rename it"
            )
        try:
            checked = _checked(row, rows)
        except BadRow as bad:
            rejects.reject(path, line, bad)
            continue
        for name, value in checked.items():
            column = columns.setdefault(name, [])
            column.extend([None] * (len(rows) - len(column)))  # the attribute's first value comes late
            column.append(value)
        rows[checked["item_id"]] = len(rows)
    if not rows:
        raise DataError(
            f"{path} has no {'valid ' if rejects.total else ''}items; give a catalogue with one at least"
        )
    return Items(path, _table(columns, len(rows), textual=file_format(path) == "csv"), rows)


def as_item_id(value: object) -> str:
    """Normalise an item_id: text without blanks around it, or an integer; "" for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def item_texts(table: pa.Table) -> list[str]:
    """Write each item as the text its embedding is made from.

    Args:
        table: as in ``items.parquet``.

    Returns:
        Per item the title, then the values of its string and list<string> attributes, see
        :func:`sid.item_text`.
    """
    names = [
        field.name
        for field in table.schema
        if _is_text(field.type) and field.name not in ("item_id", "title")
    ]
    return [item_text(row.pop("title"), row) for row in table.select(["title", *names]).to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.list_(pa.string()))


def _checked(row: Row, rows: dict[str, int]) -> Row:
    """The row with its item_id and title normalised; raises BadRow."""
    item_id, title = as_item_id(row["item_id"]), row["title"]
    if not item_id:
        raise BadRow("bad item_id", f"item_id {row['item_id']!r:.60} is neither text nor an integer")
    if item_id in rows:
        raise BadRow("duplicate item_id", f"item_id '{item_id}' occurs a second time")
    if not isinstance(title, str | None):
        raise BadRow("wrong type of title", f"the title of item '{item_id}' is {title!r:.60}, not a text")
    if not title or not title.strip():
        raise BadRow("empty title", f"item '{item_id}' has no title")
    for name, value in row.items():
        if not is_attribute(value):
            detail = f"attribute '{name}' is {value!r:.60}, not a text, number, truth value or list of texts"
            raise BadRow(f"wrong type of {name}", detail)
    return {**row, "item_id": item_id, "title": " ".join(title.split())}


def _table(columns: dict[str, list[Any]], n_items: int, textual: bool) -> pa.Table:
    arrays = {}
    for name, values in columns.items():
        values.extend([None] * (n_items - len(values)))
        if name in ("item_id", "title"):
            arrays[name] = pa.array(values, pa.string())
        else:
            arrays[name] = attribute_column(parse_text_column(values) if textual else values)
    return pa.table(arrays)
