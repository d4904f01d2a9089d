"""Attributes as columns: which conditions each type of attribute takes, and which items meet them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.schemas import MAX_CHOICES, MAX_NUMBER, MAX_TEXT, Condition

Mask = NDArray[np.bool_]
Value = str | bool | int | float

BOUNDS: dict[str, Callable[[Any, float], Mask]] = {
    "gte": np.greater_equal,
    "gt": np.greater,
    "lte": np.less_equal,
    "lt": np.less,
}


@dataclass(frozen=True)
class Facet:
    """What an attribute holds over some items.

    Attributes:
        n_items: items with a value.
        n_values: distinct values.
        most_frequent: values with the number of items that have them, the most frequent first.
        deciles: of numbers, the least, nine between and the greatest; empty where there are none.
    """

    n_items: int
    n_values: int
    most_frequent: tuple[tuple[Value, int], ...]
    deciles: tuple[float, ...] = ()


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

    def facet(self, among: Mask | None, most: int) -> Facet:
        """What the attribute holds.

        Args:
            among: bool [n_items], the items to look at; None for all.
            most: how many of its values to name.
        """


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

    def facet(self, among: Mask | None, most: int) -> Facet:
        """As in :class:`Column`; infinite numbers are left out, for no filter can name them."""
        usable = self._present & np.isfinite(self._values)
        numbers = self._values[usable if among is None else usable & among]
        values, counts = np.unique(numbers, return_counts=True)
        deciles = np.quantile(numbers, np.linspace(0, 1, 11)).tolist() if len(numbers) else []
        return Facet(len(numbers), len(values), _most_frequent(values.tolist(), counts, most), tuple(deciles))


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

    def facet(self, among: Mask | None, most: int) -> Facet:
        """As in :class:`Column`."""
        present = self._present if among is None else self._present & among
        n_true, n_items = int((self._values & present).sum()), int(present.sum())
        counts = np.array([n_true, n_items - n_true])
        return Facet(n_items, int((counts > 0).sum()), _most_frequent([True, False], counts, most))


class Texts:
    """Texts, compared as they are.

    Attributes:
        codes: int [n_items], the place of each text among the distinct ones; −1 where there is none.
    """

    kind: ClassVar[str] = "text (a text or a list of texts)"
    schema: ClassVar[dict[str, Any]] = {"anyOf": _or_one_of(TEXT)}

    def __init__(self, values: pa.Array) -> None:
        encoded = values.dictionary_encode()
        self.codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._code_of = {text: code for code, text in enumerate(encoded.dictionary.to_pylist())}

    @classmethod
    def accepts(cls, condition: Condition) -> bool:
        """Whether it is a text or several."""
        return all(isinstance(value, str) for value in _listed(condition))

    def matches(self, condition: Condition) -> Mask:
        """Items whose text is one of those asked for."""
        codes = [self._code_of[value] for value in _listed(condition) if value in self._code_of]
        return np.isin(self.codes, codes)

    def facet(self, among: Mask | None, most: int) -> Facet:
        """As in :class:`Column`."""
        return self.facet_of(self.codes if among is None else self.codes[among], most)

    def facet_of(self, codes: NDArray[np.integer], most: int) -> Facet:
        """What some rows hold, by the codes of their texts; −1 where there is none."""
        codes = codes[codes >= 0]
        counts = np.bincount(codes, minlength=len(self._code_of))
        named = _most_frequent(list(self._code_of), counts, most)
        return Facet(len(codes), int((counts > 0).sum()), named)


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

    def facet(self, among: Mask | None, most: int) -> Facet:
        """As in :class:`Column`; a text that stands twice in a list counts once."""
        codes = self._texts.codes
        is_meant = codes >= 0 if among is None else (codes >= 0) & among[self._rows]
        pairs = np.unique(np.stack([self._rows[is_meant], codes[is_meant]]), axis=1)
        facet = self._texts.facet_of(pairs[1], most)
        return replace(facet, n_items=len(np.unique(pairs[0])))


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


def _most_frequent(
    values: Sequence[Value], counts: NDArray[np.integer], most: int
) -> tuple[tuple[Value, int], ...]:
    """Values that occur and that a filter can name, the most frequent first and equals in their order."""
    order = np.argsort(-counts, kind="stable").tolist()
    named = ((values[place], int(counts[place])) for place in order if counts[place])
    usable = (pair for pair in named if not isinstance(pair[0], str) or 0 < len(pair[0]) <= MAX_TEXT)
    return tuple(islice(usable, most))


def _listed(condition: Condition) -> Sequence[Any]:
    """The values of a condition that asks for one of several."""
    return condition if isinstance(condition, list) else [condition]
