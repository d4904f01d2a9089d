"""The report's figures, worked out by hand and by definition."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid import ResidualQuantizer, SidTable
from sid.report import hourglass, report


def test_figures_of_a_small_catalogue() -> None:
    quantizer = ResidualQuantizer(
        (np.array([[0, 0], [4, 0], [9, 9]], np.float32), np.array([[0, 0], [0, 2]], np.float32))
    )
    embeddings = np.array([[0, 0], [0, 0], [4, 0], [4, 3]], np.float32)
    table = SidTable.from_item_codes(quantizer.encode(embeddings), quantizer.codebook_sizes)

    result = report(table, quantizer, embeddings)

    first, second = result.levels
    assert (first.codebook_size, second.codebook_size) == (3, 2)
    assert first.utilisation == pytest.approx(2 / 3)
    assert first.perplexity == pytest.approx(2)
    assert first.largest_share == pytest.approx(1 / 2)
    assert second.utilisation == 1
    assert second.perplexity == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))
    assert second.largest_share == pytest.approx(3 / 4)
    assert first.evenness == pytest.approx(math.log(2) / math.log(3))
    assert (first.prefixes, first.branching_mean, first.branching_max) == (2, 2, 2)
    assert (second.prefixes, second.branching_mean, second.branching_max) == (3, 1.5, 2)
    assert (result.n_items, result.n_sids) == (4, 3)
    assert result.items_per_sid_mean == pytest.approx(4 / 3)
    assert result.items_per_sid_max == 2
    assert result.collision_share == pytest.approx(2 / 4)
    # (4, 3) is taken for (4, 2): an error of 1; around the mean (2, 0.75) the spread is 16 + 6.75.
    assert result.reconstruction_error == pytest.approx(1 / 22.75)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_counts_agree_with_a_counter(sids: list[tuple[int, int]]) -> None:
    quantizer = ResidualQuantizer((np.zeros((4, 1), np.float32), np.zeros((5, 1), np.float32)))
    table = SidTable.from_item_codes(np.array(sids), quantizer.codebook_sizes)
    result = report(table, quantizer, np.ones((len(sids), 1), np.float32))
    counts = Counter(sids)
    assert result.n_sids == len(counts)
    assert result.items_per_sid_max == max(counts.values())
    assert result.collision_share == pytest.approx(
        sum(count for count in counts.values() if count > 1) / len(sids)
    )
    for share, found in (
        (0.5, result.items_per_sid_p50),
        (0.9, result.items_per_sid_p90),
        (0.99, result.items_per_sid_p99),
    ):
        assert sum(count <= found for count in counts.values()) >= share * len(counts)
        assert sum(count < found for count in counts.values()) < share * len(counts)
    above = 1
    for level, size in enumerate((4, 5)):
        prefixes = {sid[: level + 1] for sid in sids}
        children = Counter(prefix[:-1] for prefix in prefixes)
        assert result.levels[level].prefixes == len(prefixes)
        assert result.levels[level].branching_mean == pytest.approx(len(prefixes) / above)
        assert result.levels[level].branching_max == max(children.values())
        above = len(prefixes)
        used = Counter(sid[level] for sid in sids)
        assert result.levels[level].evenness == pytest.approx(
            sum(n / len(sids) * math.log(len(sids) / n) for n in used.values()) / math.log(size)
        )
        assert result.levels[level].utilisation == pytest.approx(len(used) / size)
        assert 1 - 1e-9 <= result.levels[level].perplexity <= len(used) + 1e-9


@pytest.mark.parametrize(
    ("evenness", "depth"),
    [
        ((1.0,), 0),
        ((1.0, 0.2), 0),
        ((0.9, 0.5, 0.8), 0.3),
        ((0.9, 0.5, 0.4), 0),
        ((0.4, 0.5, 0.9), 0),
        ((0.9, 0.6, 0.5, 0.8), 0.3),
        ((0.9, 0.9, 0.9), 0),
    ],
)
def test_the_hourglass_is_as_deep_as_its_waist_is_narrow(evenness: tuple[float, ...], depth: float) -> None:
    assert hourglass(evenness) == pytest.approx(depth)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_the_hourglass_stands_on_either_end(evenness: list[float]) -> None:
    assert 0 <= hourglass(evenness) <= 1
    assert hourglass(evenness) == hourglass(evenness[::-1])


def test_a_single_item_has_no_variance_to_lose() -> None:
    quantizer = ResidualQuantizer((np.ones((1, 2), np.float32),))
    table = SidTable.from_item_codes(np.zeros((1, 1), int), (1,))
    result = report(table, quantizer, np.ones((1, 2), np.float32))
    assert result.reconstruction_error == 0
    assert result.to_dict()["levels"][0]["perplexity"] == pytest.approx(1)
    assert result.levels[0].evenness == 1
