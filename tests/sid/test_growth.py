"""Rows behind rows: what ``np.concatenate`` gives, whoever else holds a part of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid.growth import extended


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_a_tree_of_arrays_is_its_concatenations(steps: list[tuple[int, int]]) -> None:
    """Any array may be extended, more than once; none changes after it was made."""
    made = [np.arange(6, dtype=np.float32).reshape(3, 2)]
    expected = [made[0].copy()]
    for step, (parent, n_more) in enumerate(steps):
        more = np.full((n_more, 2), step, dtype=np.float32)
        made.append(extended(made[parent % len(made)], more))
        expected.append(np.concatenate([expected[parent % len(expected)], more]))
    for array, wanted in zip(made, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_what_was_extended_once_is_not_copied_again() -> None:
    first = extended(np.zeros((100, 3), np.float32), np.ones((1, 3), np.float32))
    second = extended(first, np.ones((2, 3), np.float32))
    assert np.shares_memory(first, second)
    assert second.flags.c_contiguous


def test_a_part_of_an_array_is_no_place_to_grow_from() -> None:
    whole = extended(np.arange(100), np.arange(3))
    np.testing.assert_array_equal(extended(whole[50:], np.arange(2)), [*whole[50:], 0, 1])
    np.testing.assert_array_equal(extended(whole[:50], np.arange(2)), [*range(50), 0, 1])
    np.testing.assert_array_equal(whole, [*range(100), 0, 1, 2])
