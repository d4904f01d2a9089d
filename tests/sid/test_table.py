"""The SID table groups items by SID and loses none."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sid import SidError, SidTable

SIZES = (3, 1, 4)


def item_codes() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    columns = [hnp.arrays(np.int32, 30, elements=st.integers(0, size - 1)) for size in SIZES]
    return st.builds(lambda n_items, *codes: np.stack(codes, axis=1)[:n_items], st.integers(0, 30), *columns)


@given(item_codes())
def test_items_are_grouped_by_sid_in_lexicographic_order(codes: np.ndarray[Any, Any]) -> None:
    expected = defaultdict(list)
    for row, sid in enumerate(codes.tolist()):
        expected[tuple(sid)].append(row)

    table = SidTable.from_item_codes(codes, SIZES)

    assert [tuple(sid) for sid in table.codes.tolist()] == sorted(expected)
    assert [table.posting(leaf).tolist() for leaf in range(table.n_leaves)] == [
        expected[sid] for sid in sorted(expected)
    ]
    assert table.n_items == len(codes)
    np.testing.assert_array_equal(table.codes[table.leaf_of_item()].reshape(-1, 3), codes)
    assert (table.codes.dtype, table.posting_items.dtype, table.posting_indptr.dtype) == ("i4", "i4", "i8")


@given(item_codes(), st.lists(st.integers(0, 3), max_size=4))
def test_what_lies_under_a_prefix_begins_with_it(codes: np.ndarray[Any, Any], prefix: list[int]) -> None:
    table = SidTable.from_item_codes(codes, SIZES)
    sids = table.codes.tolist()
    assert list(table.under(prefix)) == [
        leaf for leaf, sid in enumerate(sids) if sid[: len(prefix)] == prefix
    ]


@given(item_codes())
def test_codebooks_too_large_for_one_integer_change_nothing(codes: np.ndarray[Any, Any]) -> None:
    small = SidTable.from_item_codes(codes, SIZES)
    for sizes in ((2**21, 2**21, 2**21), (2**31, 2**31, 2**31)):
        large = SidTable.from_item_codes(codes, sizes)
        for name in ("codes", "posting_indptr", "posting_items"):
            np.testing.assert_array_equal(getattr(large, name), getattr(small, name))


@pytest.mark.parametrize("last", [2**21 - 1, 2**21, 2**21 + 1])
def test_the_largest_codes_are_in_order_where_one_integer_ends(last: int) -> None:
    """Three items take two bits for their rows, which leaves 61 = 20 + 20 + 21 for the codes."""
    sizes = (2**20, 2**20, last)
    highest = [size - 1 for size in sizes]
    codes = np.array([highest, [0, 0, 0], [*highest[:2], highest[2] - 1]], dtype=np.uint64)
    table = SidTable.from_item_codes(codes, sizes)
    assert table.posting_items.tolist() == [1, 2, 0]
    np.testing.assert_array_equal(table.codes, codes[[1, 2, 0]])


@given(st.from_type(SidTable), st.data())
def test_find_is_a_dictionary_lookup(table: SidTable, data: st.DataObject) -> None:
    leaves = {tuple(sid): leaf for leaf, sid in enumerate(table.codes.tolist())}
    sid = st.tuples(*(st.integers(-2, size + 1) for size in table.codebook_sizes))
    asked = data.draw(st.lists(st.one_of(sid, st.sampled_from([*leaves, (0,) * table.levels]))))

    found = table.find(np.array(asked, dtype=np.int64).reshape(-1, table.levels))

    assert found.tolist() == [leaves.get(tuple(sid), -1) for sid in asked]


@given(st.from_type(SidTable))
def test_find_keeps_the_leading_shape(table: SidTable) -> None:
    leaves = np.arange(table.n_leaves // 2 * 2, dtype=np.int32).reshape(2, -1)
    np.testing.assert_array_equal(table.find(table.codes[leaves]), leaves)
    if table.n_leaves:
        assert table.find(table.codes[0]) == 0


def test_a_code_outside_its_codebook_is_not_mistaken_for_its_neighbour() -> None:
    sids = np.array(list(itertools.product(range(-2, 4), repeat=2)))
    inside = ((sids >= 0) & (sids < 2)).all(axis=1)
    table = SidTable.from_item_codes(sids[inside], (2, 2))
    np.testing.assert_array_equal(table.find(sids) >= 0, inside)


def test_find_does_not_overflow_on_many_large_codebooks() -> None:
    sizes = (2**16,) * 8
    codes = np.array([[2**16 - 1] * 8, [0] * 8, [2**16 - 1] * 7 + [0]])
    table = SidTable.from_item_codes(codes, sizes)
    assert table.find(codes).tolist() == [2, 0, 1]
    assert table.find(np.array([2**40] * 8)) == -1


@given(table=st.from_type(SidTable))
def test_the_file_keeps_the_table(tmp_path_factory: pytest.TempPathFactory, table: SidTable) -> None:
    path = tmp_path_factory.mktemp("table") / "sids.npz"
    table.save(path)
    loaded = SidTable.load(path)
    for name in ("codes", "posting_indptr", "posting_items"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
    assert loaded.codebook_sizes == table.codebook_sizes


@pytest.mark.parametrize(
    ("codes", "sizes", "message"),
    [
        (np.zeros((2, 2), int), (3, 3, 3), r"shape \(2, 2\)"),
        (np.zeros(3, int), (3, 3, 3), r"shape \(3,\)"),
        (np.full((1, 1), 3), (3,), "outside the codebooks"),
        (np.full((1, 1), -1), (3,), "outside the codebooks"),
        (np.full((1, 1), 0.5), (3,), "expected integers"),
        (np.zeros((2, 0), int), (), "one level"),
    ],
)
def test_codes_that_are_no_sids_are_refused(
    codes: np.ndarray[Any, Any], sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        SidTable.from_item_codes(codes, sizes)


def test_find_refuses_sids_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"expected \[..., 2\]"):
        SidTable.from_item_codes(np.zeros((1, 2), int), (3, 3)).find(np.zeros((1, 3), int))


def test_a_missing_or_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sids.npz"
    with pytest.raises(SidError, match=r"sids\.npz not found"):
        SidTable.load(path)
    SidTable.from_item_codes(np.zeros((1, 2), int), (3, 3)).save(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SidError, match="is damaged"):
            SidTable.load(path)


@pytest.mark.parametrize(
    "changed",
    [
        {"codes": np.array([[1, 0], [0, 1]], np.int32)},  # unsorted
        {"codes": np.array([[0, 1], [0, 1]], np.int32)},  # repeated
        {"codes": np.array([[0, 1], [1, 9]], np.int32)},  # outside the codebook
        {"codes": np.array([[0, 1]], np.int32)},
        {"posting_indptr": np.array([0, 1, 2])},  # loses an item
        {"posting_items": np.array([0, 1, 1], np.int32)},
        {"posting_items": np.array([2, 1, 0], np.int32)},
        {"posting_items": np.array([0, 1, 7], np.int32)},
        {"codebook_sizes": np.array([2], np.int32)},
        {"codes": np.array(["a"])},
    ],
)
def test_a_file_that_would_make_searches_wrong_is_refused(
    tmp_path: Path, changed: dict[str, np.ndarray[Any, Any]]
) -> None:
    good = {
        "codes": np.array([[0, 1], [1, 0]], np.int32),
        "posting_indptr": np.array([0, 1, 3]),
        "posting_items": np.array([1, 0, 2], np.int32),
        "codebook_sizes": np.array([2, 2], np.int32),
    }
    np.savez(tmp_path / "good.npz", **good)
    assert SidTable.load(tmp_path / "good.npz").n_items == 3
    np.savez(tmp_path / "bad.npz", **{**good, **changed})
    with pytest.raises(SidError, match="SID table"):
        SidTable.load(tmp_path / "bad.npz")


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "sids.npz", codes=np.array([{"a": 1}], dtype=object))
    with pytest.raises(SidError, match="is damaged"):
        SidTable.load(tmp_path / "sids.npz")
