"""Examination estimated from choices, against shoppers whose examination is known."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from training.events.examination import PairCounts, at_first_sight, estimate_examination
from training.shop.clicks import attraction, examination, simulate_pages
from training.shop.relevance import Answers
from training.shop.shop import ShopSettings, make_shop

N_POSITIONS = 10
NOISE = 1.0

Floats = NDArray[np.float64]
Shown = tuple[int, int, bool]
"""Pair of query and item, position, whether chosen."""


def counted(shown: Iterator[Shown]) -> PairCounts:
    cells: Counter[tuple[int, int]] = Counter()
    chosen: Counter[tuple[int, int]] = Counter()
    for pair, position, is_chosen in shown:
        cells[pair, position] += 1
        chosen[pair, position] += is_chosen
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pair for pair, _ in cells))}
    return PairCounts(
        np.array([numbers[pair] for pair, _ in cells]),
        np.array([position for _, position in cells]),
        np.array([float(count) for count in cells.values()]),
        np.array([float(chosen[cell]) for cell in cells]),
    )


def totals(counts: PairCounts, n_positions: int = N_POSITIONS) -> tuple[Floats, Floats]:
    """Shown and chosen by position."""
    rows = counts.positions - 1
    return np.bincount(rows, counts.shown, n_positions), np.bincount(rows, counts.chosen, n_positions)


def estimated(counts: PairCounts) -> Floats:
    return estimate_examination(counts, *totals(counts))


def model_shoppers(random: np.random.Generator) -> Iterator[Shown]:
    """Shoppers of the position-based model; better items stand higher, and what is shown changes a little."""
    for query in range(300):
        grades = random.integers(0, 4, 20)
        engine = grades * 0.6 + random.normal(0, 1, 20)
        for _ in range(60):
            page = np.argsort(-engine - random.normal(0, 0.7, 20))[:N_POSITIONS]
            chance = attraction(NOISE)[grades[page]] * examination(NOISE)[:N_POSITIONS]
            for position, (item, is_chosen) in enumerate(
                zip(page.tolist(), (random.random(N_POSITIONS) < chance).tolist(), strict=True), start=1
            ):
                yield query * 20 + item, position, is_chosen


def test_shoppers_of_the_model_are_seen_through() -> None:
    counts = counted(model_shoppers(np.random.default_rng(0)))
    truth = examination(NOISE)[:N_POSITIONS]
    assert estimated(counts) == pytest.approx(truth, rel=0.12)
    first = at_first_sight(*totals(counts))
    assert np.abs(first / truth - 1).max() > 0.24
    assert (first <= truth * 1.03).all(), "better items stand higher, so it falls too fast"


def test_shoppers_of_the_shop_are_seen_through_better_than_at_first_sight() -> None:
    """They leave with what they came for and choose one thing at least, so the model is not quite theirs."""
    shop = make_shop(ShopSettings(items=300, seed=3))
    random = np.random.default_rng(1)
    department = np.arange(len(shop.stock.items), dtype=np.int32)
    logs = np.log(shop.stock.popularity)

    def shown() -> Iterator[Shown]:
        for number, answers in enumerate(shop.answers[:150]):
            yield from pages_of(number, answers)

    def pages_of(number: int, answers: Answers) -> Iterator[Shown]:
        pages = simulate_pages(answers, department, logs - logs.mean(), 60, NOISE, random)
        for items, on_page, chosen in zip(pages.items, pages.shown, pages.chosen, strict=True):
            for row in np.flatnonzero(on_page[:N_POSITIONS]).tolist():
                yield number * 1_000 + int(items[row]), row + 1, bool(chosen[row])

    counts = counted(shown())
    truth = examination(NOISE)[:N_POSITIONS]
    error, first = (
        np.abs(np.log(each / truth)).mean() for each in (estimated(counts), at_first_sight(*totals(counts)))
    )
    assert error < first


def test_where_nothing_moves_choices_per_impression_must_do() -> None:
    shown, chosen = np.full(5, 1e6), np.array([5e5, 1e5, 5e4, 1e4, 1e3])
    nothing = PairCounts(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert estimate_examination(nothing, shown, chosen) == pytest.approx(chosen / 5e5, rel=0.05)


def test_without_choices_all_positions_are_alike() -> None:
    nothing = PairCounts(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    assert estimate_examination(nothing, np.full(3, 9.0), np.zeros(3)) == pytest.approx(np.ones(3))
    assert len(estimate_examination(nothing, np.zeros(0), np.zeros(0))) == 0


def test_a_position_of_little_data_is_like_the_one_above() -> None:
    """Two items swap the first two places; the third place was seen once."""
    pairs, positions = np.array([0, 0, 1, 1, 0]), np.array([1, 2, 1, 2, 3])
    shown, chosen = np.array([1e4, 1e4, 1e4, 1e4, 1.0]), np.array([4e3, 2e3, 2e3, 1e3, 0.0])
    counts = PairCounts(pairs, positions, shown, chosen)
    first, second, third = estimate_examination(counts, *totals(counts, 3))
    assert (first, second) == pytest.approx((1.0, 0.5), rel=0.01)
    assert 0.4 < third < 0.5
