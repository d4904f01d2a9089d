"""Rows of a JSONL, CSV or Parquet file, one after the other, each with the line it starts on.

Text is read record by record rather than by a block parser, because a bad row must be named by its line.
"""

import csv
import datetime
import decimal
import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.errors import DataError
from training.data.rejects import BadRow, Rejects

Row = dict[str, Any]
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def file_format(path: Path) -> str:
    """Tell the format by the name: "jsonl", "csv" (both also as ``.gz``) or "parquet".

    Raises:
        DataError: for any other name.
    """
    name = path.name.lower()
    compressed = name.endswith(".gz")
    kind = FORMATS.get(Path(name.removesuffix(".gz")).suffix)
    if kind is None or (compressed and kind == "parquet"):
        raise DataError(f"{path} is none of .jsonl, .csv, .jsonl.gz, .csv.gz, .parquet; convert or rename it")
    return kind


def read_rows(path: Path, required: tuple[str, ...], rejects: Rejects) -> Iterator[tuple[int, Row]]:
    """Yield the rows that can be read, as ``(line, {column: value})``.

    CSV values are strings, an empty cell is None. Values of JSONL and Parquet keep their types; dates become
    ISO 8601 strings. Blank lines between rows are no rows.

    Args:
        path: the file.
        required: columns that every row must have.
        rejects: told of every row that cannot be read.

    Raises:
        DataError: if the file is missing, of an unknown or broken format, or lacks a required column.
    """
    kind = file_format(path)
    if not path.is_file():
        raise DataError(f"{path} not found; check the path")
    if kind == "parquet":
        yield from _parquet(path, required)
        return
    try:
        with _open(path) as file:
            yield from (_jsonl if kind == "jsonl" else _csv)(path, file, required, rejects)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _jsonl(
    path: Path, file: Iterable[bytes], required: tuple[str, ...], rejects: Rejects
) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, start=1):
        try:
            row = _json_object(line, required)
        except BadRow as bad:
            rejects.reject(path, number, bad)
            continue
        if row is not None:
            yield number, row


def _json_object(line: bytes, required: tuple[str, ...]) -> Row | None:
    """Read one line, None for a blank one."""
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise BadRow("not UTF-8", "the line is not UTF-8") from error
    if not text:
        return None
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRow("malformed JSON", f"malformed JSON ({error})") from error
    if not isinstance(row, dict):
        raise BadRow("not a JSON object", "the line is not a JSON object")
    for column in required:
        if column not in row:
            raise BadRow(f"no {column}", f"the row has no '{column}'")
    return row


class _Lines:
    """UTF-8 lines of a binary file; ``broken`` tells whether one was not UTF-8 since it was last cleared.

    A line that is not UTF-8 is passed on with replacement marks, so that the CSV reader keeps its place.
    """

    def __init__(self, file: Iterable[bytes]) -> None:
        self._file = iter(file)
        self._encoding = "utf-8-sig"  # a byte order mark may open the first line
        self.broken = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._file)
        encoding, self._encoding = self._encoding, "utf-8"
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            self.broken = True
            return line.decode(encoding, errors="replace")


def _csv(
    path: Path, file: Iterable[bytes], required: tuple[str, ...], rejects: Rejects
) -> Iterator[tuple[int, Row]]:
    lines = _Lines(file)
    reader = csv.reader(lines, strict=True)
    header = _header(path, reader, lines, required)
    while True:
        start, lines.broken = reader.line_num + 1, False
        try:
            cells = next(reader)
            if cells:
                yield start, _named(header, cells, lines.broken)
        except StopIteration:
            return
        except csv.Error as error:
            rejects.reject(path, start, BadRow("malformed CSV", f"malformed CSV ({error})"))
        except BadRow as bad:
            rejects.reject(path, start, bad)


def _named(header: list[str], cells: list[str], broken: bool) -> Row:
    if broken:
        raise BadRow("not UTF-8", "the row is not UTF-8")
    if len(cells) != len(header):
        raise BadRow("ragged row", f"the row has {len(cells)} cells, the header has {len(header)}")
    return {column: cell or None for column, cell in zip(header, cells, strict=True)}


def _header(path: Path, reader: Iterator[list[str]], lines: _Lines, required: tuple[str, ...]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise DataError(f"{path.name}:1: malformed CSV header ({error}); fix the header") from error
    if lines.broken:
        raise DataError(f"{path.name}:1: the header is not UTF-8; save the file as UTF-8")
    for index, name in enumerate(header):
        if not name:
            raise DataError(f"{path.name}:1: column {index + 1} has no name; name it in the header")
        if name in header[:index]:
            raise DataError(f"{path.name}:1: column '{name}' stands twice in the header; rename one of them")
    _require(path, header, required)
    return header


def _parquet(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    try:
        with pq.ParquetFile(path) as file:
            _require(path, file.schema_arrow.names, required)
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: _plain(value) for name, value in row.items()}
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file ({error}); write it again") from error


def _require(path: Path, columns: list[str], required: tuple[str, ...]) -> None:
    missing = [f"'{column}'" for column in required if column not in columns]
    if missing:
        has = ", ".join(columns) or "none"
        raise DataError(f"{path} has no column {', '.join(missing)} (columns: {has}); add or rename it")


def _plain(value: object) -> object:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return float(value) if isinstance(value, decimal.Decimal) else value
