"""Attributes as columns: which conditions each type of attribute takes, and which items meet them."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.schemas import MAX_CHOICES, MAX_NUMBER, MAX_TEXT, Condition

Mask = NDArray[np.bool_]

BOUNDS: dict[str, Callable[[Any, float], Mask]] = {
    "gte": np.greater_equal,
    "gt": np.greater,
    "lte": np.less_equal,
    "lt": np.less,
}


def _or_one_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A value, or a list of values one of which is meant."""
    return [schema, {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_CHOICES}]


NUMBER: dict[str, Any] = {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}
TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}
RANGE: dict[str, Any] = {
    "type": "object",
    "properties": dict.fromkeys(BOUNDS, NUMBER),
    "additionalProperties": False,
    "minProperties": 1,
}


class Column(Protocol):
    """One attribute over all items, ready to be filtered; an item without a value meets no condition.

    Attributes:
        kind: what its values are and what a filter may ask of them, in words.
        schema: the same as a JSON schema.
    """

    kind: ClassVar[str]
    schema: ClassVar[dict[str, Any]]

    def __init__(self, values: pa.Array) -> None: ...

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether the condition can be asked of this type of attribute."""

    def matches(self, condition: Condition) -> Mask:
        """Items that meet a condition that is accepted, bool [n_items]."""


class Numbers:
    """Integers or floats; integers are compared exactly."""

    kind: ClassVar[str] = "numbers (a number, a list of numbers, or bounds: gte, gt, lte, lt)"
    schema: ClassVar[dict[str, Any]] = {"anyOf": [*_or_one_of(NUMBER), RANGE]}

    def __init__(self, values: pa.Array) -> None:
        self._present = _present(values)
        self._values = values.fill_null(0).to_numpy(zero_copy_only=False)

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether it is a number, several, or bounds."""
        return isinstance(condition, dict) or all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in _listed(condition)
        )

    def matches(self, condition: Condition) -> Mask:
        """Items whose number is one of those asked for, or within the bounds."""
        if isinstance(condition, dict):
            found = self._present.copy()
            for bound, limit in condition.items():
                found &= BOUNDS[bound](self._values, limit)
            return found
        found = np.zeros(len(self._values), dtype=bool)
        for value in _listed(condition):
            found |= self._values == value
        found &= self._present
        return found


class Truths:
    """Truth values."""

    kind: ClassVar[str] = "truth values (true or false)"
    schema: ClassVar[dict[str, Any]] = {"type": "boolean"}

    def __init__(self, values: pa.Array) -> None:
        self._present = _present(values)
        self._values: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether it is true or false."""
        return isinstance(condition, bool)

    def matches(self, condition: Condition) -> Mask:
        """Items that have this truth value."""
        found: Mask = (self._values == condition) & self._present
        return found


class Texts:
    """Texts, compared as they are."""

    kind: ClassVar[str] = "text (a text or a list of texts)"
    schema: ClassVar[dict[str, Any]] = {"anyOf": _or_one_of(TEXT)}

    def __init__(self, values: pa.Array) -> None:
        encoded = values.dictionary_encode()
        self._codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._code_of = {text: code for code, text in enumerate(encoded.dictionary.to_pylist())}

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether it is a text or several."""
        return all(isinstance(value, str) for value in _listed(condition))

    def matches(self, condition: Condition) -> Mask:
        """Items whose text is one of those asked for."""
        codes = [self._code_of[value] for value in _listed(condition) if value in self._code_of]
        return np.isin(self._codes, codes)


class TextLists:
    """Lists of texts."""

    kind: ClassVar[str] = "lists of texts (a text or a list of texts, one of which must be among them)"
    schema: ClassVar[dict[str, Any]] = Texts.schema

    def __init__(self, values: pa.Array) -> None:
        self._rows = pc.list_parent_indices(values).to_numpy()
        self._n_items = len(values)
        self._texts = Texts(pc.list_flatten(values))

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether it is a text or several."""
        return Texts.accepts(condition)

    def matches(self, condition: Condition) -> Mask:
        """Items among whose texts is one of those asked for."""
        found = np.zeros(self._n_items, dtype=bool)
        found[self._rows[self._texts.matches(condition)]] = True
        return found


def column_type(kind: pa.DataType) -> type[Column] | None:
    """The column for values of an Arrow type; None for types that cannot be filtered."""
    if pa.types.is_boolean(kind):
        return Truths
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return Numbers
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Texts
    if pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        return TextLists
    return None


def _present(values: pa.Array) -> Mask:
    present: Mask = values.is_valid().to_numpy(zero_copy_only=False)
    return present


def _listed(condition: Condition) -> Sequence[Any]:
    """The values of a condition that asks for one of several."""
    return condition if isinstance(condition, list) else [condition]
