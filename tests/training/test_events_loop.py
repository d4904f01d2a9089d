"""The loop on a small shop: shoppers of a service leave a log, and the log trains the next model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from radsearch.cli import build
from training.checkpoint import load_provenance
from training.events.sessions import SessionSettings, write_sessions
from training.shop.clicks import Pages, simulate_pages
from training.shop.shop import Shop, ShopSettings, make_shop, write_shop

SETTINGS = ShopSettings(items=200, seed=3)
N_VISITS = 40  # of each query
NOISE = 1.0  # shoppers who look at the top and choose by chance
TINY = (
    *("--batch-size", "8", "--d-model", "16", "--n-layers", "1"),
    *("--set", "model.head_dim=8", "--set", "model.vector_dim=4"),
)


def run(*arguments: object) -> dict[str, Any]:
    argv = [*map(str, arguments), "--json"]
    result = CliRunner().invoke(build(argv), argv, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@pytest.fixture(scope="module")
def shop() -> Shop:
    return make_shop(SETTINGS)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("loop") / "shop"
    write_shop(out, SETTINGS)
    return out


@pytest.fixture(scope="module")
def pages(shop: Shop) -> list[Pages]:
    """What the shoppers of each query saw and chose."""
    random = np.random.default_rng(0)
    department = np.arange(len(shop.stock.items), dtype=np.int32)
    logs = np.log(shop.stock.popularity)
    return [
        simulate_pages(answers, department, logs - logs.mean(), N_VISITS, NOISE, random)
        for answers in shop.answers
    ]


@pytest.fixture(scope="module")
def log(shop: Shop, pages: list[Pages], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that a service would have written about it."""
    directory = tmp_path_factory.mktemp("events")
    ids = [item["item_id"] for item in shop.stock.items]
    with (directory / "events-2026-03-01-0a1b2c3d-0001.jsonl").open("w") as file:
        for number, (query, of_query) in enumerate(zip(shop.queries, pages, strict=True)):
            for visit in range(N_VISITS):
                request_id = f"{number}-{visit}"
                line = {"schema": 1, "time": f"2026-03-{1 + visit % 28:02}T00:00:00.000+00:00"}
                on_page = of_query.shown[visit]
                items = [ids[row] for row in of_query.items[visit][on_page]]
                search = {"type": "search", "request_id": request_id, "user_id": request_id}
                file.write(json.dumps({**line, **search, "query": query.text, "items": items}) + "\n")
                for row in of_query.items[visit][of_query.chosen[visit] & on_page]:
                    click = {"type": "click", "request_id": request_id, "item_id": ids[row]}
                    file.write(json.dumps({**line, **click}) + "\n")
    return directory


def relevant_share(shop: Shop, pairs: set[tuple[str, str]]) -> float:
    """Share of (query, item) that are truly relevant."""
    rows = {item["item_id"]: row for row, item in enumerate(shop.stock.items)}
    grades = {
        query.text: answers.grades_of(np.arange(len(rows), dtype=np.int32))
        for query, answers in zip(shop.queries, shop.answers, strict=True)
    }
    return float(np.mean([grades[query][rows[item]] >= 2 for query, item in pairs]))


def test_sessions_are_nearer_to_the_truth_than_the_choices(
    shop: Shop, raw: Path, log: Path, tmp_path: Path
) -> None:
    def shares(**settings: Any) -> tuple[float, float]:
        write_sessions(log, raw / "items.jsonl", tmp_path / "sessions.jsonl", SessionSettings(**settings))
        sessions = [json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()]
        positives, negatives = (
            {(session["query"], item) for session in sessions for item in session[side]}
            for side in ("positives", "negatives")
        )
        return relevant_share(shop, positives), relevant_share(shop, negatives)

    choices = shares(by="visit", min_examined=1e-9, max_negatives=1_000)  # all that was shown and not chosen
    sessions = shares(by="query")
    print({"relevant positives": (choices[0], sessions[0]), "relevant negatives": (choices[1], sessions[1])})
    assert sessions[0] > choices[0]
    assert sessions[1] < choices[1]


def test_the_same_log_gives_the_same_bytes_in_little_memory(raw: Path, log: Path, tmp_path: Path) -> None:
    files = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    for out, memory_gb in zip(files, (None, 0.2), strict=True):
        write_sessions(log, raw / "items.jsonl", out, SessionSettings(memory_gb=memory_gb))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_log_trains_the_next_model(raw: Path, log: Path, tmp_path: Path) -> None:
    sessions, data = tmp_path / "sessions.jsonl", tmp_path / "data"
    made = run("sessions", "--from-events", log, "--items", raw / "items.jsonl", "--out", sessions)
    assert made["sessions"] > 0
    files = ("--items", raw / "items.jsonl", "--judgments", raw / "judgments.jsonl")
    prepared = run("prepare", *files, "--sessions", sessions, "--out", data, "--vocab-size", 400)
    assert prepared["rejected"]["total"] == 0
    assert prepared["sessions"]["positives"] == made["positives"]
    assert prepared["sessions"]["negatives"] == made["negatives"]
    run("sids", "--data", data, "--codebooks", "8,8", "--dim", 16)
    run("train", "--data", data, "--out", tmp_path / "sft", "--steps", 3, *TINY)
    figures = run(
        *("train", "--data", data, "--objective", "rad-dpo", "--from", tmp_path / "sft"),
        *("--out", tmp_path / "rad-dpo", "--steps", 3, "--batch-size", 8),
    )
    assert np.isfinite(figures["final"]["preference"])
    assert load_provenance(tmp_path / "rad-dpo").objective == "rad-dpo"
