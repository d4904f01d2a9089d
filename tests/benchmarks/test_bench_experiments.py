"""``radsearch bench experiments`` in small, and the laws that it measures."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from benchmarks import experiments as module
from benchmarks import live_shop, simulated
from benchmarks.experiments import AA_TOLERANCE, AB_TOLERANCE, Size
from benchmarks.simulated import (
    detection,
    false_alarms,
    interleaved,
    interleaved_detection,
    lift,
    lift_over_queries,
    sensitivity,
)
from experiments.interleaving import LEVEL
from experiments.power import Plan
from experiments.simulation.drawn import Pair, draw_users
from experiments.simulation.known_shop import PAGE, KnownShop
from experiments.simulation.recording import Recorded
from experiments.simulation.shoppers import Days
from tests.benchmarks.runner import bench
from training.shop.shop import ShopSettings, write_shop

WEEK = Days(shoppers=1500, searches_per_day=1.0, first=date(2026, 1, 12), n_days=7, seed=0)
LARGE = replace(WEEK, shoppers=30_000)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> KnownShop:
    directory = tmp_path_factory.mktemp("shops") / "shop"
    write_shop(directory, ShopSettings(items=300))
    return KnownShop.load(directory)


def answers(shop: KnownShop, error: float, seed: int) -> Recorded:
    """What an engine of some error finds: items by true relevance and noise."""
    random = np.random.default_rng(seed)
    rows = np.arange(len(shop.rows), dtype=np.int32)
    pages = [
        np.argsort(-(one.grades_of(rows) + random.normal(0, error, len(rows))))[:PAGE].astype(np.int32)
        for one in shop.answers
    ]
    grades = [shop.grades(query, page) for query, page in enumerate(pages)]
    return Recorded(np.stack(pages), np.stack(grades))


@pytest.fixture(scope="module")
def same(shop: KnownShop) -> Pair:
    good = answers(shop, 0.5, seed=0)
    return Pair(shop, good, good)


@pytest.fixture(scope="module")
def worse(shop: KnownShop, same: Pair) -> Pair:
    return replace(same, treatment=answers(shop, 1.0, seed=1))


def quiet(done: int) -> None:
    assert done > 0


def test_the_lift_is_what_many_shoppers_show(same: Pair, worse: Pair) -> None:
    for pair in (replace(same, effect=0.2), worse):
        table = draw_users(pair, LARGE, with_past=False).to_pandas()
        clicked, searches = (table.groupby("variation")[name].sum() for name in ("clicked", "searches"))
        # Users differ, so the ratio's error is taken from them (delta method).
        rates = clicked / searches
        residuals = (table["clicked"] - table["variation"].map(rates) * table["searches"]).groupby(
            table["variation"]
        )
        errors = residuals.std() * np.sqrt(residuals.count()) / searches / rates
        assert np.log(rates[1] / rates[0]) == pytest.approx(
            np.log1p(lift(pair)), abs=4 * float(np.hypot(*errors))
        )


def test_what_does_not_differ_has_no_lift(same: Pair) -> None:
    assert lift(same) == 0
    assert lift_over_queries(same, 0).low == lift_over_queries(same, 0).high == 0


def test_a_lift_on_every_query_is_sure(same: Pair, worse: Pair) -> None:
    interval = lift_over_queries(worse, 0)
    assert interval.low < lift(worse) == interval.mean < interval.high < 0


def test_drawn_experiments_are_decided_by_their_seed(worse: Pair) -> None:
    tables = [draw_users(worse, replace(WEEK, seed=seed), with_past=True) for seed in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    drawn = [interleaved(worse, replace(WEEK, shoppers=100, seed=seed)) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_before_the_experiment_nobody_is_treated(worse: Pair) -> None:
    treated, untreated = (
        draw_users(pair, WEEK, with_past=True) for pair in (worse, replace(worse, treatment=worse.control))
    )
    before = [name for name in treated.column_names if name.startswith("pre_")]
    assert len(before) == 5
    assert treated.select(before).equals(untreated.select(before))
    assert not treated.equals(untreated)


def test_interleaved_shoppers_prefer_the_better_variant(worse: Pair) -> None:
    won = interleaved(worse, WEEK)
    assert (won < 0).sum() > 1.2 * (won > 0).sum()


@pytest.mark.slow
def test_experiments_without_a_difference_find_one_as_often_as_they_may(same: Pair) -> None:
    in_ctr, in_any = false_alarms(same, WEEK, 300, quiet)
    assert abs(in_ctr.share - LEVEL) <= AA_TOLERANCE
    assert in_any.share <= LEVEL + AA_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.1, -0.1])
def test_a_known_effect_is_found_with_the_computed_power(same: Pair, effect: float) -> None:
    detected, power = detection(replace(same, effect=effect), replace(WEEK, shoppers=4000), 300, quiet)
    assert 0.5 < power < 0.99
    assert abs(detected.share - power) <= AB_TOLERANCE


@pytest.mark.slow
def test_as_many_searches_as_are_needed_find_it(worse: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "N_RESAMPLES", 50)
    needed = sensitivity(worse, LARGE, Plan())
    assert needed.saving.low > 1
    ab, _ = detection(worse, replace(WEEK, shoppers=needed.shoppers["ab"]), 300, quiet)
    both = interleaved_detection(worse, replace(WEEK, shoppers=needed.shoppers["interleaved"]), 300, quiet)
    assert abs(ab.share - 0.8) <= AB_TOLERANCE
    assert abs(both.share - 0.8) <= AB_TOLERANCE


def test_the_command_measures_a_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_shop, "SHOP_ITEMS", 300)
    monkeypatch.setattr(module, "QUICK", Size(aa_runs=3, ab_runs=2, population=400, http_shoppers=40))
    monkeypatch.setattr(module, "AB_SHOPPERS", 300)
    monkeypatch.setattr(simulated, "N_RESAMPLES", 20)
    monkeypatch.setattr(module, "WEEK", replace(WEEK, shoppers=200))
    bundle = live_shop.export_model(tmp_path, seed=0)
    (tmp_path / "bundles").mkdir()
    for name in ("sft", "rad-dpo"):
        (tmp_path / "bundles" / name).symlink_to(bundle)
    out = tmp_path / "experiments.json"
    arguments = ["experiments", "--demo", str(tmp_path), "--quick", "--out", str(out)]
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    made = json.loads(out.read_text())
    assert made["benchmark"] == "experiments"
    assert (made["aa"]["ctr"]["runs"], made["ab"]["detected"]["runs"]) == (3, 2)
    assert 0 < made["ab_power_computed"] < 1
    assert made["sensitivity"]["pairs"]["unordered"]["lift"] < 0
    assert set(made["interleaving_saving"]) == {"without words", "unordered"}
    # The same bundle under two names: nothing but chance may tell them apart.
    assert made["lift"]["expected_ctr"] == {"mean": 0, "low": 0, "high": 0}
    assert made["lift"]["interleaved"] == {"share": None, "p": 1.0, "shoppers": 0}
    assert made["lift"]["measured"]["ctr"]["low"] < made["lift"]["measured"]["ctr"]["high"]
    assert "of 3 runs find a difference" in result.stdout
