"""The items of an epoch: what they are called, and their attributes as columns."""

from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sid.manifest import BundleError

POPULARITY = "popularity"
ITEM_ID, TITLE = "item_id", "title"


class ItemPayload(TypedDict):
    """What an answer says about an item, besides its score and SID."""

    item_id: str
    title: str
    attributes: dict[str, Any]


class Catalogue:
    """The rows of ``items.parquet``; the row number is the item row used everywhere.

    Attributes:
        table: ``item_id``, ``title`` and the attributes.
        popularity: float32 [n_items]; zeros where the file has none.
    """

    def __init__(self, table: pa.Table) -> None:
        self.popularity: NDArray[np.float32] = (
            table.column(POPULARITY).to_numpy().astype(np.float32)
            if POPULARITY in table.column_names
            else np.zeros(len(table), np.float32)
        )
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
