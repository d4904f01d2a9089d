import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(0, 1000), max_size=6), max_size=8)


def to_lists(ragged: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(ragged.values, ragged.indptr[1:-1])] if len(ragged) else []


@given(ROWS)
def test_rows_come_back(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert to_lists(ragged) == rows
    assert len(ragged) == len(rows)
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert ragged.row_of_value.tolist() == [index for index, row in enumerate(rows) for _ in row]


@given(st.integers(0, 5), st.integers(0, 4))
def test_a_table_is_rows_of_one_length(n: int, width: int) -> None:
    table = np.arange(n * width).reshape(n, width)
    assert to_lists(Ragged.of_table(table)) == table.tolist()
    assert Ragged.of_table(table).values.dtype == np.int32


@given(ROWS, ROWS)
def test_concatenation_is_that_of_lists(a: list[list[int]], b: list[list[int]]) -> None:
    assert to_lists(Ragged.concatenate([Ragged.of(a), Ragged.of(b)])) == a + b


@given(ROWS.filter(len), st.data())
def test_take_is_indexing(rows: list[list[int]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1))
    assert to_lists(Ragged.of(rows).take(np.array(wanted))) == [rows[index] for index in wanted]


@given(ROWS, st.integers(1, 4), st.integers(0, 9))
def test_samples_are_distinct_values_of_their_row(rows: list[list[int]], k: int, seed: int) -> None:
    places = [[100 * index + place for place in range(len(row))] for index, row in enumerate(rows)]
    drawn = to_lists(Ragged.of(places).sample(k, np.random.default_rng(seed)))
    for row, sample in zip(places, drawn, strict=True):
        assert len(sample) == len(set(sample)) == min(k, len(row))
        assert set(sample) <= set(row)


def test_every_value_is_drawn_equally_often() -> None:
    ragged, rng = Ragged.of([[0, 1, 2, 3]] * 4000), np.random.default_rng(0)
    counts = np.bincount(ragged.sample(2, rng).values)
    assert np.abs(counts - 2000).max() < 150  # 4.7 standard deviations


@given(ROWS)
def test_padding_keeps_values_on_the_side_asked_for(rows: list[list[int]]) -> None:
    longest = max(map(len, rows), default=0)
    right, right_mask = Ragged.of(rows).padded()
    left, left_mask = Ragged.of(rows).padded(left=True)
    assert right.tolist() == [row + [0] * (longest - len(row)) for row in rows]
    assert left.tolist() == [[0] * (longest - len(row)) + row for row in rows]
    assert right_mask.sum(1).tolist() == left_mask.sum(1).tolist() == [len(row) for row in rows]
    assert all(right[right_mask] == left[left_mask])


def test_empty_rows() -> None:
    assert to_lists(Ragged.empty(3)) == [[], [], []]
    values, mask = Ragged.empty(3).padded()
    assert values.shape == mask.shape == (3, 0)
