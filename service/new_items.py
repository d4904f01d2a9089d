"""Items that someone wants to add, checked against the catalogue they are to join."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from service.catalogue import ITEM_ID, TITLE, ItemPayload
from service.problems import InvalidRequestError
from sid import item_text

INT64 = range(-(2**63), 2**63)


def item_rows(items: Sequence[ItemPayload], schema: pa.Schema) -> pa.Table:
    """Lay out new items as rows of a catalogue.

    Args:
        items: at least one, each at most once; an attribute that is not given or None has no value.
        schema: of the catalogue.

    Raises:
        InvalidRequestError: naming the first value that the catalogue cannot take.
    """
    if not items:
        raise InvalidRequestError("/items", "has no item; give one at least")
    rows = [_row(item, schema, f"/items/{place}") for place, item in enumerate(items)]
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        first = places.setdefault(row[ITEM_ID], place)
        if first != place:
            raise InvalidRequestError(f"/items/{place}/item_id", f"is that of /items/{first}, too")
    return pa.Table.from_pylist(rows, schema)


def item_texts(rows: pa.Table) -> list[str]:
    """The text of each row, see :func:`sid.item_text`."""
    textual = [field.name for field in rows.schema if field.name != ITEM_ID and _is_textual(field.type)]
    return [item_text(row.pop(TITLE), row) for row in rows.select(textual).to_pylist()]


def _row(item: ItemPayload, schema: pa.Schema, pointer: str) -> dict[str, Any]:
    item_id, title = item["item_id"].strip(), " ".join(item["title"].split())
    for name, value in ((ITEM_ID, item_id), (TITLE, title)):
        if not value:
            raise InvalidRequestError(f"{pointer}/{name}", "is blank")
    row: dict[str, Any] = {ITEM_ID: item_id, TITLE: title}
    attributes = [name for name in schema.names if name not in row]
    for name, value in item["attributes"].items():
        place = f"{pointer}/attributes/{name}"
        if name not in attributes:
            known = ", ".join(attributes) or "none"
            raise InvalidRequestError(place, f"no attribute of this catalogue; known: {known}")
        kind = schema.field(name).type
        if value is not None and not _fits(value, kind):
            raise InvalidRequestError(place, f"is {value!r:.60}, the attribute holds {_in_words(kind)}")
        row[name] = value
    return row


def _fits(value: object, kind: pa.DataType) -> bool:
    """Whether a value can stand in a column of an Arrow type as it is."""
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if pa.types.is_integer(kind):
        return isinstance(value, int) and not isinstance(value, bool) and value in INT64
    if pa.types.is_floating(kind):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if pa.types.is_list(kind):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str) and _is_textual(kind)


def _in_words(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "truth values"
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_floating(kind):
        return "numbers"
    return "lists of texts" if pa.types.is_list(kind) else "texts"


def _is_textual(kind: pa.DataType) -> bool:
    return kind in (pa.string(), pa.list_(pa.string()))
