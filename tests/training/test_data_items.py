"""Attributes get the narrowest type that holds them; items become text for embedding."""

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.attributes import attribute_column, parse_text_column
from training.data.items import item_texts, load_items
from training.data.rejects import Rejects

COLUMNS = [
    ([True, None], pa.bool_(), [True, None]),
    ([1, -2], pa.int64(), [1, -2]),
    ([1, 2.5, None], pa.float64(), [1.0, 2.5, None]),
    ([2**70], pa.float64(), [float(2**70)]),
    (["a", 1, True, 2.5], pa.string(), ["a", "1", "true", "2.5"]),
    ([True, 1], pa.string(), ["true", "1"]),
    ([["a", "b"], [], "c", None], pa.list_(pa.string()), [["a", "b"], [], ["c"], None]),
    ([None, None], pa.string(), [None, None]),
]


@pytest.mark.parametrize(("values", "kind", "stored"), COLUMNS)
def test_a_column_has_the_narrowest_type(values: list[Any], kind: pa.DataType, stored: list[Any]) -> None:
    column = attribute_column(values)
    assert column.type == kind
    assert column.to_pylist() == stored


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["true", "False", None], [True, False, None]),
        (["1", "-20"], [1, -20]),
        (["1", "2.50"], [1.0, 2.5]),
        (["1", "M"], ["1", "M"]),
        (["007", "1"], ["007", "1"]),
        (["1e5"], ["1e5"]),
        (["nan", "inf"], ["nan", "inf"]),
        ([None], [None]),
    ],
)
def test_csv_cells_are_read_as_one_type_or_stay_text(cells: list[str | None], values: list[Any]) -> None:
    parsed = list(parse_text_column(cells))
    assert parsed == values
    assert [type(value) for value in parsed] == [type(value) for value in values]


@given(
    st.lists(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), max_size=5)
)
def test_any_mixture_of_scalars_has_a_type(values: list[Any]) -> None:
    column = attribute_column(values)
    assert [value is None for value in values] == [value is None for value in column.to_pylist()]


def test_an_attribute_may_come_late_and_end_early(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    rows = [
        {"item_id": 1, "title": "Lamp", "brand": "Oda"},
        {"item_id": "2", "title": "Mug", "volume": 0.3},
        {"title": " Tea\t pot ", "item_id": "3"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_items(path, Rejects()).table.to_pydict() == {
        "item_id": ["1", "2", "3"],
        "title": ["Lamp", "Mug", "Tea pot"],
        "brand": ["Oda", None, None],
        "volume": [None, 0.3, None],
    }


def test_parquet_dates_and_decimals_become_plain(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    table = {
        "item_id": [7],
        "title": ["Lamp"],
        "added": [datetime.date(2025, 1, 31)],
        "price": [decimal.Decimal("9.99")],
        "tags": [["new", "brass"]],
    }
    pq.write_table(pa.table(table), path)
    row = load_items(path, Rejects()).table.to_pylist()[0]
    assert row == {
        "item_id": "7",
        "title": "Lamp",
        "added": "2025-01-31",
        "price": 9.99,
        "tags": ["new", "brass"],
    }


def test_item_text_is_title_and_text_attributes_whatever_the_order_of_columns() -> None:
    columns: dict[str, Any] = {
        "title": ["Lamp", "Mug"],
        "price": [1.0, 2.0],
        "colour": ["red", None],
        "brand": ["Oda", "Kettleby"],
        "tags": [["new", "brass"], None],
    }
    table = pa.table({"item_id": ["a", "b"], **columns})
    turned = pa.table({"item_id": ["a", "b"], **dict(reversed(columns.items()))})
    assert item_texts(table) == ["Lamp Oda red new brass", "Mug Kettleby"]
    assert item_texts(turned) == item_texts(table)
