"""Strategies for SIDs: ``st.from_type(SidTable)`` draws tables of every shape that a catalogue can take."""

import itertools

import numpy as np
from hypothesis import strategies as st

from sid import SidTable


@st.composite
def tables(draw: st.DrawFn) -> SidTable:
    """Random, skewed, single-path, complete, one-item and empty catalogues, unsorted and with repeats."""
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    any_sid = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    near_zero = st.tuples(*(st.integers(0, min(1, size - 1)) for size in sizes))
    sids = draw(
        st.one_of(
            st.lists(any_sid, max_size=40),
            st.lists(st.one_of(near_zero, any_sid), max_size=40),
            any_sid.flatmap(lambda sid: st.lists(st.just(sid), min_size=1, max_size=5)),
            st.permutations(list(itertools.product(*(range(min(size, 3)) for size in sizes)))),
        )
    )
    return SidTable.from_item_codes(np.array(sids, dtype=np.int64).reshape(-1, len(sizes)), sizes)


st.register_type_strategy(SidTable, tables())
