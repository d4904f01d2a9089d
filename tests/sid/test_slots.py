"""Chunks are sized by the branching of a level."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid import SidTable, Trie, chunk_slots


def table_of(degrees: list[int]) -> SidTable:
    """Two levels; the i-th node of the first has ``degrees[i]`` children."""
    sids = [(node, child) for node, degree in enumerate(degrees) for child in range(degree)]
    return SidTable.from_item_codes(np.asarray(sids).reshape(-1, 2), (len(degrees), max(degrees)))


def widths(table: SidTable) -> list[int]:
    return [len(slots) for slots in chunk_slots(Trie.from_table(table)).values()]


def test_nodes_alike_are_read_in_one_go() -> None:
    assert widths(table_of([37] * 20)) == [20, 37]


def test_a_single_wide_node_does_not_make_chunks_wide() -> None:
    assert widths(table_of([2] * 500 + [1000]))[1] <= 8


@given(st.from_type(SidTable))
def test_there_is_a_slot_on_every_level(table: SidTable) -> None:
    slots = chunk_slots(Trie.from_table(table))
    assert list(slots) == [f"slots_{level}" for level in range(table.levels)]
    for array in slots.values():
        assert array.dtype == np.int32
        np.testing.assert_array_equal(array, np.arange(len(array)))
        assert len(array) >= 1
