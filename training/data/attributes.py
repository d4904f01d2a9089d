"""Types of attribute columns: bool, int64, double, string or list<string>."""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

# "007" and "1e5" stay text: they are codes more often than numbers.
INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})")
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
TRUTH = {"true": True, "false": False}


def is_attribute(value: object) -> bool:
    """Whether a value can stand in an attribute column: a scalar, a list of strings, or nothing."""
    if isinstance(value, list):
        return all(isinstance(element, str) for element in value)
    return value is None or isinstance(value, bool | int | float | str)


def attribute_column(values: Sequence[Any]) -> pa.Array:
    """Find the narrowest type that holds every value of a column.

    bool; int64; double where integers and floats meet; list<string> where a list occurs (a scalar becomes a
    list of one); string for any other mixture and for a column without values.

    Args:
        values: each accepted by :func:`is_attribute`.
    """
    types = {type(value) for value in values if value is not None}
    if list in types:
        return pa.array([_as_list(value) for value in values], pa.list_(pa.string()))
    if types == {bool}:
        return pa.array(values, pa.bool_())
    if types == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64())
    if types and types <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def parse_text_column(values: Sequence[str | None]) -> Sequence[Any]:
    """Read a CSV column as truth values, integers or numbers if all of its cells are such; else as text."""
    cells = [value for value in values if value is not None]
    if not cells:
        return values
    if all(cell.lower() in TRUTH for cell in cells):
        return [None if value is None else TRUTH[value.lower()] for value in values]
    if all(INTEGER.fullmatch(cell) for cell in cells):
        return [None if value is None else int(value) for value in values]
    if all(NUMBER.fullmatch(cell) for cell in cells):
        return [None if value is None else float(value) for value in values]
    return values


def _as_list(value: object) -> list[str] | None:
    if isinstance(value, list):
        return value
    return None if value is None else [_as_text(value)]


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
