"""Laws of the synthetic shop, checked on a small one."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from training.commands.shop import shop as shop_command
from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.data.splits import hash_split, query_key
from training.shop.catalogue import load_catalogue
from training.shop.clicks import MAX_RESULTS, examination, simulate_pages
from training.shop.relevance import Answers, Intent
from training.shop.shop import MAX_NEAR_MISSES, Shop, ShopSettings, make_shop, write_shop

SETTINGS = ShopSettings(items=300, seed=3)
FILES = ("items.jsonl", "sessions.jsonl", "judgments.jsonl", "shop.json")


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(SETTINGS)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop") / "shop"
    write_shop(out, SETTINGS)
    return out


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def brute_force_grade(intent: Intent, item: dict[str, Any], siblings: dict[str, list[str]]) -> int:
    """The definition of a grade, word by word, for one item."""

    def has(name: str, value: str) -> bool:
        return value in item[name] if isinstance(item.get(name), list) else item.get(name) == value

    matched = [has(name, value) for name, value in intent.constraints]
    labels = [name.title() for name in intent.categories]
    if not labels and not any(matched):
        return 0
    if not labels or item["category"] in labels:
        if all(matched):
            return 3
        return 2 if sum(matched) > len(matched) / 2 else 1
    beside = [name.title() for label in intent.categories for name in siblings[label]]
    return int(item["category"] in beside and all(matched))


def test_grades_equal_a_second_implementation(shop: Shop) -> None:
    siblings = {category.name: list(category.siblings) for category in load_catalogue().categories}
    rng = np.random.default_rng(0)
    for index in rng.choice(len(shop.queries), 60, replace=False):
        intent = shop.queries[index].intent
        expected = [brute_force_grade(intent, item, siblings) for item in shop.stock.items]
        assert shop.answers[index].grades_of(np.arange(300)).tolist() == expected


def test_counts_follow_the_number_of_items(shop: Shop) -> None:
    assert len(shop.stock.items) == 300
    assert len({item["item_id"] for item in shop.stock.items}) == 300
    assert len(shop.queries) >= 0.8 * 300
    assert sum(len(pages.items) for pages in shop.pages) >= 4 * 300
    assert shop.stock.popularity.sum() == pytest.approx(1.0)


def test_every_query_has_a_perfect_answer_and_a_text_of_its_own(shop: Shop) -> None:
    assert all(len(answers.of_grade(3)) for answers in shop.answers)
    assert len({query_key(query.text) for query in shop.queries}) == len(shop.queries)


def test_what_a_query_asks_for_is_in_the_titles_of_its_perfect_answers(shop: Shop) -> None:
    for query, answers in zip(shop.queries, shop.answers, strict=True):
        for row in answers.of_grade(3)[:3]:
            title = shop.stock.items[row]["title"].replace(" ", "")
            for name, value in query.intent.constraints:
                assert name == "brand" or value.replace(" ", "") in title


def test_items_are_typed_and_prices_follow_the_category(shop: Shop) -> None:
    prices = {category.label: category.price for category in load_catalogue().categories}
    for item in shop.stock.items:
        low, high = prices[item["category"]]
        assert low * 0.75 <= item["price"] <= high * 1.3
        assert isinstance(item["in_stock"], bool)
        assert 2.6 <= item["rating"] <= 4.9
        assert all(isinstance(value, str | bool | int | float | list) for value in item.values())


def test_some_items_and_some_queries_are_much_more_popular(shop: Shop) -> None:
    popularity = np.sort(shop.stock.popularity)[::-1]
    assert popularity[:30].sum() > 3 * 30 / 300
    searches = np.sort([len(pages.items) for pages in shop.pages])[::-1]
    assert searches[: len(searches) // 10].sum() > 0.3 * searches.sum()


def test_the_same_seed_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    write_shop(tmp_path / "again", SETTINGS)
    write_shop(tmp_path / "other", ShopSettings(items=300, seed=4))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (written / name).read_bytes()


def test_sessions_have_positives_and_can_be_put_together_again(written: Path) -> None:
    sessions = read(written / "sessions.jsonl")
    assert [s["timestamp"] for s in sessions] == sorted(s["timestamp"] for s in sessions)
    assert len({s["user_id"] for s in sessions}) > 100
    for session in sessions:
        positives, negatives, positions = session["positives"], session["negatives"], session["positions"]
        assert 1 <= len(positives) <= 4
        assert len(positions) == len(positives)
        assert not set(positives) & set(negatives)
        assert max(positions) <= len(positives) + len(negatives) <= MAX_RESULTS
    by_query = Counter(session["query"] for session in sessions)
    assert by_query.most_common(1)[0][1] >= 10


def test_judgments_hold_every_good_answer_and_some_near_misses(written: Path, shop: Shop) -> None:
    judged: dict[str, dict[str, int]] = {}
    for row in read(written / "judgments.jsonl"):
        assert row["split"] == hash_split(row["query"])
        judged.setdefault(row["query"], {})[row["item_id"]] = row["grade"]
    ids = [item["item_id"] for item in shop.stock.items]
    for query, answers in zip(shop.queries, shop.answers, strict=True):
        truth = {ids[row]: int(grade) for row, grade in zip(answers.rows, answers.grades, strict=True)}
        assert judged[query.text].items() <= truth.items()
        counts, kept = Counter(truth.values()), Counter(judged[query.text].values())
        assert kept == Counter({**counts, 1: min(counts[1], MAX_NEAR_MISSES)})


def test_the_summary_tells_the_share_of_noise(written: Path) -> None:
    summary = json.loads((written / "shop.json").read_text())
    truth: dict[tuple[str, str], int] = {
        (row["query"], row["item_id"]): row["grade"] for row in read(written / "judgments.jsonl")
    }
    grades: dict[str, list[int]] = {"positives": [], "negatives": []}
    for session in read(written / "sessions.jsonl"):
        for name, seen in grades.items():
            seen += [truth.get((session["query"], item_id), 0) for item_id in session[name]]
    positives, negatives = np.array(grades["positives"]), np.array(grades["negatives"])
    assert summary["positives"]["count"] == len(positives)
    assert summary["positives"]["irrelevant_share"] == pytest.approx((positives < 2).mean(), abs=1e-4)
    assert summary["negatives"]["relevant_share"] == pytest.approx((negatives >= 2).mean(), abs=1e-4)
    assert summary["negatives"]["perfect_share"] == pytest.approx((negatives == 3).mean(), abs=1e-4)
    assert summary["sessions"] == len(read(written / "sessions.jsonl"))


def test_noise_makes_choices_worse(tmp_path: Path) -> None:
    calm, wild = (
        write_shop(tmp_path / str(noise), ShopSettings(items=300, noise=noise)) for noise in (0.0, 1.0)
    )
    assert calm["positives"]["irrelevant_share"] < 0.05
    assert wild["positives"]["irrelevant_share"] > 3 * calm["positives"]["irrelevant_share"]
    assert wild["negatives"]["relevant_share"] > calm["negatives"]["relevant_share"]


def test_users_choose_by_position() -> None:
    """All items are equally good, so what is chosen more often higher up is chosen for its position."""
    all_perfect = Answers(np.arange(30, dtype=np.int32), np.full(30, 3, np.int8))
    pages = simulate_pages(
        all_perfect, all_perfect.rows, np.zeros(30), 20_000, noise=0.6, random=np.random.default_rng(0)
    )
    rate = pages.chosen[:, :8].mean(axis=0)
    assert (np.diff(rate) < 0).all()
    first = pages.chosen[:, 0].mean()
    assert first == pytest.approx(examination(0.6)[0] * (0.4 * 1.0 + 0.6 * 0.7), abs=0.02)


def test_pages_are_cut_where_the_log_ends() -> None:
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(200, 90, replace=False)).astype(np.int32)
    answers = Answers(rows, rng.integers(1, 4, 90).astype(np.int8))
    pages = simulate_pages(answers, np.arange(200, dtype=np.int32), np.zeros(200), 500, noise=0.3, random=rng)
    assert (pages.chosen <= pages.shown).all()
    assert pages.chosen.any(axis=1).all()
    assert (np.diff(pages.shown.astype(int), axis=1) <= 0).all(), "what is shown is a prefix"
    assert all(len(set(row)) == len(row) for row in pages.items.tolist())


def test_prepare_takes_the_shop_as_it_is(written: Path, tmp_path: Path) -> None:
    names = ("items.jsonl", "sessions.jsonl", "judgments.jsonl")
    items, sessions, judgments = (written / name for name in names)
    report = prepare(items, sessions, judgments, tmp_path / "data", PrepareSettings(vocab_size=400))
    summary = json.loads((written / "shop.json").read_text())
    assert report["rejected"]["total"] == 0
    assert report["items"]["count"] == summary["items"]
    assert report["judgments"]["queries"] == report["sessions"]["queries"] == summary["queries"]
    types = report["items"]["attributes"]
    assert [types[name] for name in ("price", "in_stock", "reviews", "brand")] == [
        "double",
        "bool",
        "int64",
        "string",
    ]
    assert types["features"].startswith("list<")


@pytest.mark.parametrize("noise", [-0.1, 1.5])
def test_noise_outside_its_range_is_refused(tmp_path: Path, noise: float) -> None:
    with pytest.raises(DataError, match="is not between 0 and 1"):
        write_shop(tmp_path / "shop", ShopSettings(items=300, noise=noise))
    assert not list(tmp_path.iterdir())


def test_the_command_prints_a_summary_or_json(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(shop_command)
    arguments = ["--items", "300", "--out", str(tmp_path / "shop")]
    summary = CliRunner().invoke(app, arguments)
    assert summary.exit_code == 0, summary.output
    assert "300 items" in summary.output
    machine = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(machine.stdout) == json.loads((tmp_path / "shop" / "shop.json").read_text())
