"""The items of an epoch: what they are called, and their attributes as columns."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from sid.manifest import BundleError

POPULARITY = "popularity"
ITEM_ID, TITLE = "item_id", "title"


class ItemPayload(TypedDict):
    """What an answer says about an item, besides its score and SID."""

    item_id: str
    title: str
    attributes: dict[str, Any]


class Catalogue:
    """The rows of ``items.parquet`` and those added since; the row number is the item row used everywhere.

    Attributes:
        table: ``item_id``, ``title`` and the attributes.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.drop_columns([POPULARITY]) if POPULARITY in table.column_names else table

    @classmethod
    def load(cls, path: Path) -> "Catalogue":
        """Read ``items.parquet``.

        Raises:
            BundleError: if it is no Parquet file or lacks ``item_id`` or ``title``.
        """
        try:
            table = pq.read_table(path, memory_map=True)
        except (OSError, pa.ArrowInvalid) as error:
            raise BundleError(f"{path} is not a Parquet file ({error}); export the bundle again") from error
        for name in (ITEM_ID, TITLE):
            if name not in table.column_names:
                raise BundleError(f"{path} has no column '{name}'; export the bundle again")
        return cls(table)

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, in the order of the file."""
        return tuple(name for name in self.table.column_names if name not in (ITEM_ID, TITLE))

    def rows_of(self, item_ids: Collection[str]) -> dict[str, int]:
        """Row of each of some items, by item_id; those that are not here are left out.

        An item that was replaced has several rows: the last one counts.
        """
        ids = self.table.column(ITEM_ID)
        # A scan with a small set takes milliseconds per million items, and no index is kept in memory.
        is_meant = pc.is_in(ids, value_set=pa.array(list(item_ids), ids.type))
        rows = pc.indices_nonzero(is_meant)
        return dict(zip(ids.take(rows).to_pylist(), rows.to_pylist(), strict=True))

    def extended(self, rows: pa.Table) -> "Catalogue":
        """The same items and more behind them, of the same schema."""
        # One chunk per column: taking rows out of several would copy the column, for every answer.
        return Catalogue(pa.concat_tables([self.table, rows]).combine_chunks())

    def column(self, attribute: str) -> pa.Array:
        """One attribute over all item rows."""
        return self.table.column(attribute).combine_chunks()

    def items(self, rows: NDArray[np.integer]) -> list[ItemPayload]:
        """Payloads of some item rows, in their order; attributes without a value are left out."""
        return [
            ItemPayload(
                item_id=row.pop(ITEM_ID),
                title=row.pop(TITLE),
                attributes={name: value for name, value in row.items() if value is not None},
            )
            for row in self.table.take(pa.array(rows)).to_pylist()
        ]
