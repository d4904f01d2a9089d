"""Simulated shoppers before the real service: what they leave behind is what a replay foretells."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.errors import ExperimentError
from experiments.event_log import EventLog
from experiments.exposed import Period, exposed
from experiments.interleaving import interleavings
from experiments.simulation.choices import choose
from experiments.simulation.known_shop import NO_ITEM, PAGE, KnownShop
from experiments.simulation.recording import Recorded, record
from experiments.simulation.replay import of_shoppers, preferences, users
from experiments.simulation.shoppers import Days, Shoppers
from experiments.simulation.simulate import Arms, simulate
from radsearch.cli import build

DAYS = Days(shoppers=80, searches_per_day=0.5, first=date(2026, 3, 2), n_days=7, seed=1)
EFFECT = 1.5
COLUMNS = ("searches", "clicked", "bought", "buyers", "revenue")


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture(scope="module")
def recorded(shop: KnownShop, bundles: tuple[str, str]) -> dict[str, Recorded]:
    return record(shop, bundles, {"a": "a", "b": "b"})


@pytest.fixture(scope="module")
def week(shop: KnownShop, bundles: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of an A/B whose second variant is clicked more readily."""
    out = tmp_path_factory.mktemp("week") / "events"
    simulate(shop, Arms(bundles, effect=EFFECT), DAYS, out, quiet)
    return out


@pytest.fixture(scope="module")
def interleaved(shop: KnownShop, bundles: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interleaved") / "events"
    simulate(shop, Arms(bundles, interleave=True), DAYS, out, quiet)
    return out


def searches(log: Path) -> list[dict[str, Any]]:
    """In the order of time, which is that of the traffic."""
    lines = [json.loads(line) for path in sorted(log.iterdir()) for line in path.read_text().splitlines()]
    return [line for line in lines if line["type"] == "search"]


def test_the_service_answers_as_it_did_when_it_was_recorded(
    shop: KnownShop, week: Path, recorded: dict[str, Recorded]
) -> None:
    numbers = {query: number for number, query in enumerate(shop.queries)}
    lines = searches(week)
    assert {line["variant"] for line in lines} == {"a", "b"}
    for line in lines:
        page = recorded[line["variant"]].pages[numbers[line["query"]]]
        np.testing.assert_array_equal(shop.page(line["items"]), page)
    assert not np.array_equal(recorded["a"].pages, recorded["b"].pages)


def test_a_replay_is_the_simulation_to_the_last_click(
    shop: KnownShop, week: Path, recorded: dict[str, Recorded]
) -> None:
    found = exposed(EventLog(week), "a-against-b", Period())
    assert found is not None
    traffic = Shoppers.draw(DAYS).traffic(shop.frequency, DAYS.first)
    variation = np.zeros(DAYS.shoppers, np.int64)
    for line in searches(week):
        shopper = int(line["user_id"].removeprefix("shopper-"))
        variation[shopper] = line["experiments"]["a-against-b"]
    treated = variation[traffic.shopper] == 1
    pages, grades = (
        np.where(treated[:, None], getattr(recorded["b"], part)[traffic.query], control[traffic.query])
        for part, control in (("pages", recorded["a"].pages), ("grades", recorded["a"].grades))
    )
    choices = choose(grades, traffic.eagerness * np.where(treated, 1 + EFFECT, 1.0), traffic.coins)
    counted = of_shoppers(traffic, choices, shop.prices[pages], DAYS.shoppers)
    replayed = users(counted, None, variation).to_pydict()
    logged = found.users.to_pydict()

    def rows(table: dict[str, list[float]]) -> list[tuple[float, ...]]:
        columns = [table[name] for name in ("variation", *COLUMNS)]
        return sorted(tuple(np.round(row, 6).tolist()) for row in zip(*columns, strict=True))

    assert rows(replayed) == rows(logged)
    assert sum(logged["bought"]) > 0


def test_interleaved_shoppers_prefer_what_a_replay_says(shop: KnownShop, interleaved: Path) -> None:
    (found,) = interleavings(EventLog(interleaved), "a-with-b", Period())
    traffic = Shoppers.draw(DAYS).traffic(shop.frequency, DAYS.first)
    lines = searches(interleaved)
    assert [line["query"] for line in lines] == [shop.queries[query] for query in traffic.query]
    teams = np.full((len(traffic), PAGE), -1, np.int8)
    grades = np.full((len(traffic), PAGE), NO_ITEM, np.int8)
    for number, line in enumerate(lines):
        of_items = [-1 if team is None else team for team in line["interleaved"]["teams"]]
        teams[number, : len(of_items)] = of_items
        grades[number] = shop.grades(traffic.query[number], shop.page(line["items"]))
    clicked = choose(grades, traffic.eagerness, traffic.coins).clicked
    preferred = preferences(traffic, clicked, teams, DAYS.shoppers)
    assert found.users_won == ((preferred < 0).sum(), (preferred > 0).sum())
    assert found.credits == ((clicked & (teams == 0)).sum(), (clicked & (teams == 1)).sum())
    assert sum(found.credits) > 0


def test_the_log_is_of_the_days_that_were_simulated(week: Path) -> None:
    names = [path.name for path in sorted(week.iterdir())]
    assert names == [f"events-2026-03-{day:02}-simulated-0001.jsonl" for day in range(2, 9)]
    for path in week.iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        times = [line["time"] for line in lines]
        assert times == sorted(times)
        day = datetime.fromisoformat(f"{path.name[7:17]}T00:00:00+00:00")
        for line in lines:
            if line["type"] == "search":
                assert 0 <= (datetime.fromisoformat(line["time"]) - day).total_seconds() < 86_400
    found = exposed(EventLog(week), "a-against-b", Period())
    assert found is not None and found.first.replace(tzinfo=UTC) >= datetime(2026, 3, 2, tzinfo=UTC)
    assert EventLog(week).counts.actions_without_search == 0


def test_days_that_are_there_are_not_simulated_again(
    shop: KnownShop, bundles: tuple[str, str], week: Path
) -> None:
    with pytest.raises(ExperimentError, match="exists; choose another --out, or another --start"):
        simulate(shop, Arms(bundles), DAYS, week, quiet)


Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    def invoked(*arguments: object) -> Any:
        argv = [*map(str, arguments)]
        return CliRunner().invoke(build(argv), argv)

    return invoked


def test_one_bundle_is_no_experiment_and_its_log_makes_sessions(
    run: Run, shop_directory: Path, bundles: tuple[str, str], tmp_path: Path
) -> None:
    out, files = tmp_path / "events", shop_directory / "shop"
    simulated = ("experiment", "simulate", "--shop", files, "--bundle", bundles[0], "--out", out)
    small = ("--users", 60, "--days", 2, "--searches-per-day", 1.5, "--queries", "train")
    result = run(*simulated, *small, "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert made["experiment"] is None
    assert made["searches_by_variant"] == {"a": made["searches"]}
    assert made["degraded"] == 0
    lines = searches(out)
    assert len(lines) == made["searches"] > 0
    assert all(line["experiments"] == {} for line in lines)
    sessions = ("sessions", "--from-events", out, "--items", files / "items.jsonl")
    told = json.loads(run(*sessions, "--out", tmp_path / "sessions.jsonl", "--json").stdout)
    assert told["log"]["searches"] == made["searches"]
    assert told["log"]["events"] == made["clicks"] + made["carts"] + made["purchases"]
    assert told["sessions"] > 0


def test_the_report_reads_a_simulation_of_two_weeks(
    run: Run, shop_directory: Path, bundles: tuple[str, str], tmp_path: Path
) -> None:
    common = ("experiment", "simulate", "--shop", shop_directory / "shop", "--out", tmp_path, "--users", 60)
    both = ("--bundle", bundles[0], "--bundle", bundles[1], "--weights", "0.9,0.1")
    assert run(*common, "--bundle", bundles[0]).exit_code == 0
    result = run(*common, *both, "--start", "2026-01-12")
    assert result.exit_code == 0, result.output
    assert "searches" in result.stdout and "clicks" in result.stdout
    report = run("experiment", "report", "--events", tmp_path, "--weights", "0.9,0.1", "--json")
    assert report.exit_code == 0, report.output
    told = json.loads(report.stdout)
    assert told["experiment"] == "a-against-b"
    ctr = next(metric for metric in told["split"]["metrics"] if metric["name"] == "ctr")
    assert ctr["differences"]["1"]["width_kept"] is not None  # the week before tells shoppers apart


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bundle", "a"], "pass --bundle NAME=DIR once for each variant"),
        (["--bundle", "a=x", "--bundle", "a=y"], "--bundle has a name twice: a, a"),
        (["--bundle", "a=x", "--interleave"], "--interleave shows two bundles"),
        (["--bundle", "a=x", "--bundle", "b=y", "--interleave", "--effect", "0.1"], "do not fit"),
        (["--bundle", "a=x", "--bundle", "b=y", "--weights", "1"], "--weights needs 2 numbers that sum to 1"),
        (["--bundle", "a=x", "--weights", "half"], "--weights half are not numbers"),
        (["--bundle", "a=x", "--queries", "odd"], "there are no --queries odd"),
        (["--bundle", "a=/nowhere"], "the service did not start: .*nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    run: Run, shop_directory: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = ("--shop", shop_directory / "shop", "--out", tmp_path / "events")
    result = run("experiment", "simulate", *given, *arguments)
    assert isinstance(result.exception, ExperimentError)
    with pytest.raises(ExperimentError, match=message):
        raise result.exception
    assert not (tmp_path / "events").exists()
