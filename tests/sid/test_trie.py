"""The trie holds exactly the SIDs of its table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sid import SidTable, Trie


def children(trie: Trie, node: int) -> list[tuple[int, int]]:
    """(code, child node) of an internal node, as beam search reads them."""
    edges = range(int(trie.indptr[node]), int(trie.indptr[node + 1]))
    return [(int(trie.codes[edge]), edge + 1) for edge in edges]


def prefixes_by_node(trie: Trie, levels: int) -> dict[int, tuple[int, ...]]:
    """The codes on the way from the root to each node."""
    prefixes: dict[int, tuple[int, ...]] = {0: ()}
    frontier = [0]
    for _ in range(levels):
        frontier_children = [(node, edge) for node in frontier for edge in children(trie, node)]
        for node, (code, child) in frontier_children:
            prefixes[child] = (*prefixes[node], code)
        frontier = [child for _, (_, child) in frontier_children]
    return prefixes


@given(st.from_type(SidTable))
def test_the_walk_yields_exactly_the_sids(table: SidTable) -> None:
    trie = Trie.from_table(table)
    prefixes = prefixes_by_node(trie, table.levels)
    leaves = {node - trie.n_internal: sid for node, sid in prefixes.items() if len(sid) == table.levels}
    assert leaves == {leaf: tuple(sid) for leaf, sid in enumerate(table.codes.tolist())}


@given(st.from_type(SidTable))
def test_nodes_are_numbered_breadth_first_with_sorted_children(table: SidTable) -> None:
    trie = Trie.from_table(table)
    sids = [tuple(sid) for sid in table.codes.tolist()]
    expected = [
        prefix for depth in range(table.levels + 1) for prefix in sorted({sid[:depth] for sid in sids})
    ] or [()]
    prefixes = prefixes_by_node(trie, table.levels)
    assert [prefixes[node] for node in range(trie.n_nodes)] == expected


@given(st.from_type(SidTable))
def test_widths_are_the_widest_branchings(table: SidTable) -> None:
    trie = Trie.from_table(table)
    prefixes = prefixes_by_node(trie, table.levels)
    widest = [0] * table.levels
    for node in range(trie.n_internal):
        depth = len(prefixes[node])
        widest[depth] = max(widest[depth], len(children(trie, node)))
    assert list(trie.widths) == widest


@given(st.from_type(SidTable), st.data())
def test_a_node_lives_when_a_leaf_below_it_lives(table: SidTable, data: st.DataObject) -> None:
    trie = Trie.from_table(table)
    mask = data.draw(hnp.arrays(np.bool_, table.n_leaves))
    living = [tuple(sid) for sid in table.codes[mask].tolist()]
    prefixes = prefixes_by_node(trie, table.levels)

    alive = trie.alive(mask)

    assert alive.tolist() == [
        any(sid[: len(prefixes[node])] == prefixes[node] for sid in living) for node in range(trie.n_nodes)
    ]


def test_an_empty_trie_has_a_root_and_can_be_gathered_from() -> None:
    trie = Trie.from_table(SidTable.from_item_codes(np.zeros((0, 3), int), (4, 4, 4)))
    assert (trie.n_internal, trie.n_nodes, trie.n_leaves, trie.widths) == (1, 1, 0, (0, 0, 0))
    assert trie.indptr.tolist() == [0, 0]
    assert len(trie.codes) == 1
    assert trie.alive(np.zeros(0, bool)).tolist() == [False]


@given(st.from_type(SidTable))
def test_device_arrays_are_int32(table: SidTable) -> None:
    trie = Trie.from_table(table)
    assert trie.indptr.dtype == trie.codes.dtype == np.int32


def test_a_mask_of_another_table_is_refused() -> None:
    trie = Trie.from_table(SidTable.from_item_codes(np.zeros((1, 2), int), (4, 4)))
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(1,\)"):
        trie.alive(np.ones(2, bool))
