"""Chunks are sized by the branching of a level."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid import SidTable, Trie
from sid.slots import chunk_width, most_chunks

DEGREES = st.lists(st.integers(1, 200), min_size=1, max_size=50).map(
    lambda all_of: np.array(all_of, np.int32)
)


def test_nodes_alike_are_read_in_one_go() -> None:
    assert chunk_width(np.full(20, 37, np.int32)) == 37


def test_a_single_wide_node_does_not_make_chunks_wide() -> None:
    assert chunk_width(np.array([2] * 500 + [1000], np.int32)) <= 8


def test_a_level_without_nodes_has_a_chunk_of_one() -> None:
    assert chunk_width(np.array([], np.int32)) == 1
    assert most_chunks(np.array([], np.int32), 1, 5) == 0


@given(DEGREES, st.integers(1, 300), st.integers(1, 60))
def test_no_nodes_have_more_chunks_than_the_most(
    degrees: np.ndarray[tuple[int], np.dtype[np.int32]], width: int, n_nodes: int
) -> None:
    largest_first = sorted(degrees.tolist(), reverse=True)[:n_nodes]
    assert most_chunks(degrees, width, n_nodes) == sum(-(-degree // width) for degree in largest_first)


@given(st.from_type(SidTable), st.integers(1, 20))
def test_every_level_has_slots_and_chunks_for_the_beams(table: SidTable, beam_width: int) -> None:
    trie = Trie.from_table(table)
    inputs, budget = trie.graph_inputs, trie.chunk_budget(beam_width)
    assert [name for name in inputs if name.startswith("slots")] == [
        f"slots_{i}" for i in range(1, table.levels)
    ]
    assert inputs["first_leaf"].tolist() == [trie.n_internal]
    for level in range(table.levels):
        # The root's children are read as they come: its chunks have one slot.
        slots = inputs[f"slots_{level}"] if level else np.zeros(1, dtype=np.int32)
        chunks = budget[f"chunks_{level}"]
        for array in (slots, chunks):
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, np.arange(len(array)))
        assert (len(chunks) - 1) * len(slots) >= beam_width
