"""Every format gives back what was written, and every fault is named by its line."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.errors import DataError
from training.data.items import load_items
from training.data.rejects import Rejects

FORMATS = ("jsonl", "jsonl.gz", "csv", "csv.gz", "parquet")
# A letter first, so that no CSV reader may take it for a number or a truth value.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from(",\"'|\n"), max_size=8).map(
    lambda text: f"x{text}y"
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "title": TEXTS,
            "brand": st.none() | TEXTS,
            "price": st.none() | st.floats(-1e6, 1e6).map(lambda value: round(value, 2) + 0.001),
            "reviews": st.none() | st.integers(-(10**12), 10**12),
            "in_stock": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=6,
)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "wt", encoding="utf-8", newline="") as file:
        if ".jsonl" in path.name:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows({name: "" if v is None else v for name, v in row.items()} for row in rows)


@pytest.mark.parametrize("suffix", FORMATS)
@given(rows=ROWS)
def test_items_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, rows: list[dict[str, Any]]
) -> None:
    rows = [{"item_id": f"i{number}", **row} for number, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("rows") / f"items.{suffix}"
    write(path, rows)

    items = load_items(path, Rejects())

    expected = [{**row, "title": " ".join(row["title"].split())} for row in rows]
    assert items.table.to_pylist() == expected
    assert items.rows == {row["item_id"]: number for number, row in enumerate(rows)}
    kinds = {"brand": pa.string(), "price": pa.float64(), "reviews": pa.int64(), "in_stock": pa.bool_()}
    for name, kind in kinds.items():
        if any(row[name] is not None for row in rows):
            assert items.table.schema.field(name).type == kind


GOOD = '{"item_id": "a", "title": "Lamp"}\n'
BAD_ROWS = {
    "malformed JSON": (
        "items.jsonl",
        GOOD + '{"item_id": "b",\n',
        "items.jsonl:2: malformed JSON",
    ),
    "not an object": ("items.jsonl", GOOD + "\n[1]\n", "items.jsonl:3: the line is not a JSON object."),
    "missing key": ("items.jsonl", GOOD + '{"item_id": "b"}\n', "items.jsonl:2: the row has no 'title'."),
    "empty title": (
        "items.jsonl",
        GOOD + '{"item_id": "b", "title": " "}\n',
        "items.jsonl:2: item 'b' has no title.",
    ),
    "title of the wrong type": (
        "items.jsonl",
        GOOD + '{"item_id": "b", "title": 7}\n',
        "items.jsonl:2: the title of item 'b' is 7, not a text.",
    ),
    "item_id of the wrong type": (
        "items.jsonl",
        GOOD + '{"item_id": [1], "title": "Mug"}\n',
        "items.jsonl:2: item_id [1] is neither text nor an integer.",
    ),
    "duplicate item_id": ("items.jsonl", GOOD + GOOD, "items.jsonl:2: item_id 'a' occurs a second time."),
    "nested attribute": (
        "items.jsonl",
        GOOD + '{"item_id": "b", "title": "Mug", "size": {"cm": 9}}\n',
        "items.jsonl:2: attribute 'size' is {'cm': 9}, not a text, number, truth value or list of texts.",
    ),
    "ragged row": (
        "items.csv",
        "item_id,title\na,Lamp\nb\n",
        "items.csv:3: the row has 1 cells, the header has 2.",
    ),
    "ragged row after a cell of two lines": (
        "items.csv",
        'item_id,title\na,"Lamp\nof brass"\nb,Mug,blue\n',
        "items.csv:4: the row has 3 cells, the header has 2.",
    ),
    "quote": ("items.csv", 'item_id,title\na,Lamp\nb,"Mug"x\n', "items.csv:3: malformed CSV"),
    "unclosed quote": ("items.csv", 'item_id,title\na,Lamp\nb,"Mug\n', "items.csv:3: malformed CSV"),
    "empty cell": ("items.csv", "item_id,title\na,Lamp\nb,\n", "items.csv:3: item 'b' has no title."),
}


@pytest.mark.parametrize(("name", "text", "sentence"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_named_or_skipped(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DataError) as error:
        load_items(path, Rejects("fail"))
    assert str(error.value).startswith(sentence)
    assert str(error.value).endswith("Fix the row or pass --on-error skip.")

    rejects = Rejects("skip")
    assert list(load_items(path, rejects).rows) == ["a"]
    assert rejects.total == 1
    assert rejects.shown[0].startswith(sentence)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("items.jsonl", GOOD.encode() + b'{"item_id": "b", "title": "caf\xe9"}\n'),
        ("items.csv", b"item_id,title\nb,caf\xe9\na,Lamp\n"),
    ],
)
def test_a_line_that_is_not_utf8_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}:2: the (line|row) is not UTF-8\."):
        load_items(path, Rejects())
    assert list(load_items(path, Rejects("skip")).rows) == ["a"]


@pytest.mark.parametrize("name", ["items.jsonl", "items.csv"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(GOOD if name == "items.jsonl" else "item_id,title\r\na,Lamp\r\n", encoding="utf-8-sig")
    assert load_items(path, Rejects()).table.to_pylist() == [{"item_id": "a", "title": "Lamp"}]


FATAL = {
    "no columns": ("items.csv", b"", "has no column 'item_id', 'title' (columns: none); add or rename it"),
    "no items": ("items.csv", b"item_id,title\n", "has no items; give a catalogue with one at least"),
    "empty JSONL": ("items.jsonl", b"", "has no items; give a catalogue with one at least"),
    "missing column": (
        "items.csv",
        b"item_id,name\na,Lamp\n",
        "has no column 'title' (columns: item_id, name)",
    ),
    "unnamed column": ("items.csv", b"item_id,title,\na,Lamp,1\n", "column 3 has no name"),
    "repeated column": ("items.csv", b"item_id,title,title\n", "column 'title' stands twice in the header"),
    "header not UTF-8": ("items.csv", b"item_id,title,caf\xe9\n", "the header is not UTF-8"),
    "header with a bad quote": ("items.csv", b'item_id,"title"x\n', "malformed CSV header"),
    "unknown format": ("items.xlsx", b"", "is none of .jsonl, .csv, .jsonl.gz, .csv.gz, .parquet"),
    "not Parquet": ("items.parquet", b"PAR1", "is not a whole Parquet file"),
    "not gzip": ("items.csv.gz", b"item_id,title\n", "is not a whole gzip file"),
    "reserved name": ("items.csv", b"item_id,title,popularity\na,Lamp,3\n", "'popularity' is reserved"),
}


@pytest.mark.parametrize(("name", "content", "sentence"), FATAL.values(), ids=FATAL)
def test_a_file_that_cannot_be_used_is_fatal_even_if_rows_may_be_skipped(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        load_items(path, Rejects("skip"))
    assert sentence in str(error.value)
    assert name in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv not found; check the path"):
        load_items(tmp_path / "none.csv", Rejects())


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.csv.gz"
    whole = gzip.compress(b"item_id,title\n" + b"".join(b"%d,Lamp %d\n" % (n, n) for n in range(2000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"items\.csv\.gz is not a whole gzip file"):
        load_items(path, Rejects())


def test_a_parquet_file_without_a_required_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["a"]}), path)
    with pytest.raises(DataError, match=r"has no column 'title' \(columns: item_id\)"):
        load_items(path, Rejects())
