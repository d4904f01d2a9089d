import pytest

from reports.intervals import Interval


@pytest.mark.parametrize(
    ("low", "high", "kind", "kind_where_less_is_better"),
    [
        (0.1, 0.3, "better", "worse"),
        (-0.3, -0.1, "worse", "better"),
        (-0.1, 0.1, "same", "same"),
        (0.0, 0.2, "same", "same"),
        (-0.2, 0.0, "same", "same"),
    ],
)
def test_a_difference_is_good_by_the_side_of_zero_on_which_its_whole_interval_lies(
    low: float, high: float, kind: str, kind_where_less_is_better: str
) -> None:
    interval = Interval((low + high) / 2, low, high)
    assert interval.kind() == kind
    assert interval.kind(lower_is_better=True) == kind_where_less_is_better


def test_a_difference_is_written_with_its_signs_in_the_unit_asked_for() -> None:
    assert Interval(0.0041, -0.001, 0.0072).shown(factor=100) == "+0.41 [-0.10, +0.72]"
