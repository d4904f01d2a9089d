"""Metrics against values worked out by hand and against a second implementation in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid import SidTable
from training.metrics import (
    hallucination_values,
    intervals,
    item_metrics,
    item_values,
    relevant_items,
    sid_metrics,
    sid_values,
)

# Grades of one query: 7 is perfect, 3 good, 5 barely related; 9 was judged irrelevant.
GRADES = {"shoe 🙂": {7: 3.0, 3: 2.0, 5: 1.0, 9: 0.0}}


def test_item_metrics_by_hand() -> None:
    values = item_values({"shoe 🙂": [9, 3, 1, 7]}, GRADES, positive_from=2.0)
    assert values["Item Recall@10"] == [1.0]
    assert values["Item MRR"] == [1 / 2]
    gained = 2 / math.log2(3) + 3 / math.log2(5)
    ideal = 3 + 2 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(values["NDCG@10"], [gained / ideal], rtol=1e-6)


def test_cut_offs_by_hand() -> None:
    grades = {"q": {10: 1.0, 99: 1.0, 100: 1.0, 5000: 1.0}}
    values = item_values({"q": list(range(1, 1001))}, grades, positive_from=1.0)
    assert values["Item Recall@10"] == [1 / 4]
    assert values["Item Recall@100"] == [3 / 4]
    assert values["Item MRR"] == [1 / 10]


def test_graded_means_keep_two_decimals() -> None:
    grades = {"q": {1: 2.33, 2: 2.67}}
    values = item_values({"q": [1, 2]}, grades, positive_from=2.5)
    expected = (2.33 + 2.67 / math.log2(3)) / (2.67 + 2.33 / math.log2(3))
    np.testing.assert_allclose(values["NDCG@10"], [expected], rtol=1e-6)
    assert values["Item MRR"] == [1 / 2]


def test_a_query_that_found_nothing_counts_as_zero() -> None:
    relevance = {"a": {1: 1.0}, "b": {2: 1.0}, "c": {3: 1.0}}
    values = item_values({"a": [1], "b": []}, relevance, positive_from=1.0)
    assert all(value.tolist() == [1.0, 0.0, 0.0] for value in values.values())


def test_queries_without_a_relevant_item_are_left_out() -> None:
    relevance = {"a": {1: 3.0, 2: 1.0}, "b": {2: 1.0}, "c": {}}
    assert relevant_items(relevance, 2.0) == {"a": [1]}
    metrics = item_metrics({"a": [1], "b": [1]}, relevance, 2.0)
    assert metrics["Item MRR"].mean == metrics["Item Recall@10"].mean == 1.0


def test_sid_metrics_by_hand() -> None:
    ranked = {"q": list(range(128)), "r": [4]}
    values = sid_values(ranked, {"q": [7, 8, 64, 127, 900], "r": [4]}, beam_width=128)
    assert values["SID Recall@8"].tolist() == [1 / 5, 1]
    assert values["SID Recall@64"].tolist() == [2 / 5, 1]
    assert values["SID Recall@128"].tolist() == [4 / 5, 1]
    assert values["SID MRR"].tolist() == [1 / 8, 1]
    assert sid_metrics(ranked, {"r": [4]}, 64).keys() == {"SID Recall@8", "SID Recall@64", "SID MRR"}


def test_hallucination_is_the_share_of_filled_beams_outside_the_table() -> None:
    table = SidTable.from_item_codes(np.array([[0, 1], [1, 1]]), (2, 2))
    sids = np.array([[[0, 1], [0, 0], [1, 1], [1, 0]], [[1, 1], [0, 0], [-1, -1], [-1, -1]]])
    assert hallucination_values(sids, table)["Hallucination rate"].tolist() == [2 / 4, 1 / 2]


ids = st.integers(0, 40)
rankings = st.lists(ids, unique=True, max_size=30)
grades = st.dictionaries(ids, st.integers(0, 300).map(lambda hundredths: hundredths / 100), max_size=12)


def plain_item_values(ranked: list[int], graded: dict[int, float], positive_from: float) -> dict[str, float]:
    relevant = {item for item, grade in graded.items() if grade >= positive_from}
    hits = [rank for rank, item in enumerate(ranked, start=1) if item in relevant]
    dcg = sum(graded.get(item, 0) / math.log2(rank + 1) for rank, item in enumerate(ranked[:10], start=1))
    best = sorted(graded.values(), reverse=True)[:10]
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1))
    return {
        "Item Recall@10": sum(rank <= 10 for rank in hits) / len(relevant),
        "Item Recall@100": sum(rank <= 100 for rank in hits) / len(relevant),
        "Item MRR": 1 / hits[0] if hits else 0.0,
        "NDCG@10": dcg / ideal,
    }


@settings(deadline=None)
@given(st.lists(st.tuples(rankings, grades), min_size=1, max_size=4), st.sampled_from([0.5, 1.0, 2.5]))
def test_item_values_equal_a_second_implementation(
    cases: list[tuple[list[int], dict[int, float]]], positive_from: float
) -> None:
    ranked = {str(row): ranking for row, (ranking, _) in enumerate(cases)}
    relevance = {str(row): graded for row, (_, graded) in enumerate(cases)}
    values = item_values(ranked, relevance, positive_from)
    expected = [
        plain_item_values(ranking, graded, positive_from)
        for ranking, graded in cases
        if any(grade >= positive_from for grade in graded.values())
    ]
    for name, value in values.items():
        np.testing.assert_allclose(value, [one[name] for one in expected], atol=1e-6)


@settings(deadline=None)
@given(rankings, st.sets(ids, min_size=1, max_size=12))
def test_sid_values_equal_a_second_implementation(ranked: list[int], relevant: set[int]) -> None:
    values = sid_values({"q": ranked}, {"q": sorted(relevant)}, beam_width=64)
    hits = [rank for rank, leaf in enumerate(ranked, start=1) if leaf in relevant]
    np.testing.assert_allclose(values["SID Recall@8"], [sum(rank <= 8 for rank in hits) / len(relevant)])
    np.testing.assert_allclose(values["SID MRR"], [1 / hits[0] if hits else 0.0], atol=1e-6)


def test_intervals_cover_the_mean_as_the_normal_approximation_says() -> None:
    values = np.random.default_rng(1).random(400)
    interval = intervals({"m": values})["m"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=half / 5)
    assert interval.high == pytest.approx(values.mean() + half, abs=half / 5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 3))
def test_intervals_are_ordered_bounded_and_repeatable(values: list[float], seed: int) -> None:
    column = {"m": np.array(values)}
    interval = intervals(column, seed)["m"]
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert intervals(column, seed)["m"] == interval
