"""Flat posting lists are what plain lists would be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid import Postings
from sid.postings import runs


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=10))
def test_runs_are_ranges_behind_one_another(given_runs: list[tuple[int, int]]) -> None:
    starts, sizes = np.array(given_runs, dtype=np.int32).reshape(-1, 2).T
    places, ends = runs(starts, sizes)
    assert places.tolist() == [place for start, size in given_runs for place in range(start, start + size)]
    assert ends.tolist() == np.cumsum([size for _, size in given_runs], dtype=int).tolist()
    assert (places.dtype, ends.dtype) == ("i8", "i8")


@given(st.lists(st.lists(st.integers(0, 99), max_size=4), max_size=6), st.data())
def test_postings_know_their_beams(lists: list[list[int]], data: st.DataObject) -> None:
    postings = Postings.of_beams([np.array(each, dtype=np.int32) for each in lists])
    expected = [(item, beam) for beam, each in enumerate(lists) for item in each]
    assert list(zip(postings.items.tolist(), postings.beams.tolist(), strict=True)) == expected
    assert len(postings) == len(expected)
    assert (postings.items.dtype, postings.beams.dtype) == ("i4", "i4")
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(expected), max_size=len(expected))), bool)
    for kept in (mask, np.flatnonzero(mask)):
        some = postings.only(kept)
        assert list(zip(some.items.tolist(), some.beams.tolist(), strict=True)) == [
            pair for pair, is_kept in zip(expected, mask, strict=True) if is_kept
        ]
