"""The data directory: whole or not at all, split by query, and read back as it was meant."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from typer.testing import CliRunner

from sid import SidTable
from training.commands.prepare import prepare as prepare_command
from training.data.atomic import written_whole
from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.data.splits import SPLITS, QuerySplits, hash_split, query_key, split_of
from training.dataset import PSEUDO_EMBEDDINGS, PSEUDO_QUERIES, QUERIES, QUERY_EMBEDDINGS, Dataset
from training.sids.build import SidSettings, build_sids

N_ITEMS = 12
QUERY_FILES = (QUERIES, QUERY_EMBEDDINGS, PSEUDO_QUERIES, PSEUDO_EMBEDDINGS)
SETTINGS = PrepareSettings(vocab_size=300)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def items(tmp_path: Path) -> Path:
    rows = [{"item_id": f"i{n}", "title": f"Brass lamp number {n}", "price": n + 0.5} for n in range(N_ITEMS)]
    return write(tmp_path / "items.jsonl", rows)


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """Sessions of 60 queries, two of each, the second one written in another case."""
    rng = np.random.default_rng(0)
    rows = []
    for query in [f"lamp {n}" for n in range(60)] + [f"LAMP  {n}" for n in range(60)]:
        chosen = rng.permutation(N_ITEMS)[:5]
        ids = [f"i{n}" for n in chosen]
        rows.append({"query": query, "positives": ids[:2], "negatives": ids[2:]})
    return write(tmp_path / "sessions.jsonl", rows)


@pytest.fixture
def judgments(tmp_path: Path) -> Path:
    splits = {"lamp 1": "test", "lamp 2": "valid", "lamp 3": "train", "table": "test"}
    rows = [
        {"query": query, "item_id": f"i{n}", "grade": n, "split": split}
        for query, split in splits.items()
        for n in range(4)
    ]
    return write(tmp_path / "judgments.jsonl", rows)


def with_sids(data: Path) -> Dataset:
    """Add what ``radsearch sids`` adds."""
    build_sids(data, SidSettings(codebooks=(2, 2), dim=2), Progress(disable=True))
    return Dataset.load(data)


@given(st.text(min_size=1))
def test_the_hash_ignores_case_and_blanks(query: str) -> None:
    assert hash_split(query) in SPLITS
    assert hash_split(f"  {query} ") == hash_split(query)
    assert query_key(query_key(query)) == query_key(query)


def test_the_hash_splits_80_10_10() -> None:
    counts = Counter(hash_split(f"query {n}") for n in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["valid"] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_the_first_split_given_wins_over_later_ones_and_the_hash() -> None:
    first, second = QuerySplits(), QuerySplits()
    first.note("lamp", "test")
    second.note("Lamp", "valid")
    second.note("mug", "valid")
    assert split_of("LAMP", first, second) == "test"
    assert split_of("mug", first, second) == "valid"
    assert split_of("bowl", first, second) == hash_split("bowl")


def test_no_query_is_in_two_splits(tmp_path: Path, items: Path, sessions: Path) -> None:
    prepare(items, sessions, None, tmp_path / "data", SETTINGS)
    dataset = with_sids(tmp_path / "data")
    keys = [{query_key(session.query) for session in dataset.sessions(split)} for split in SPLITS]
    assert all(keys)
    assert sum(map(len, keys)) == len(set.union(*keys)) == 60


def test_a_judged_query_takes_its_sessions_along(
    tmp_path: Path, items: Path, sessions: Path, judgments: Path
) -> None:
    prepare(items, sessions, judgments, tmp_path / "data", SETTINGS)
    dataset = with_sids(tmp_path / "data")
    by_split = {split: {query_key(s.query) for s in dataset.sessions(split)} for split in SPLITS}
    assert "lamp 1" in by_split["test"]
    assert "lamp 2" in by_split["valid"]
    assert "lamp 3" in by_split["train"]
    assert dataset.relevance("test") == {q: {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0} for q in ("lamp 1", "table")}
    assert dataset.positive_from == SETTINGS.positive_from


def test_without_judgments_positives_are_relevant_merged_by_query(tmp_path: Path, items: Path) -> None:
    rows = [
        {"query": "lamp", "positives": ["i1"], "negatives": ["i2"], "split": "test"},
        {"query": " lamp", "positives": ["i2", "i3"], "split": "test"},
        {"query": "mug", "positives": ["i4"], "split": "train"},
    ]
    prepare(items, write(tmp_path / "s.jsonl", rows), None, tmp_path / "data", SETTINGS)
    dataset = with_sids(tmp_path / "data")
    assert dataset.relevance("test") == {"lamp": {1: 1.0, 2: 1.0, 3: 1.0}}
    assert dataset.relevance("valid") == {}
    assert dataset.positive_from == 1.0
    [mug] = dataset.sessions("train")
    assert (mug.query, mug.positives.tolist(), mug.negatives.tolist()) == ("mug", [4], [])
    assert mug.positives.dtype == mug.negatives.dtype == np.int32


def test_popularity_counts_training_positives_only(tmp_path: Path, items: Path, sessions: Path) -> None:
    prepare(items, sessions, None, tmp_path / "data", SETTINGS)
    table = pq.read_table(tmp_path / "data" / "items.parquet")
    dataset = with_sids(tmp_path / "data")
    counts = Counter(item for s in dataset.sessions("train") for item in s.positives.tolist())
    assert table.column_names[-1] == "popularity"
    assert dataset.popularity.tolist() == [counts[row] for row in range(N_ITEMS)]
    assert dataset.popularity.dtype == dataset.item_prior().dtype == np.float32
    expected = np.log1p(dataset.popularity) / np.log1p(dataset.popularity).max()
    np.testing.assert_allclose(dataset.item_prior(), expected, rtol=1e-6)


def test_items_alone_make_a_data_directory(tmp_path: Path, items: Path) -> None:
    report = prepare(items, None, None, tmp_path / "data", SETTINGS)
    dataset = with_sids(tmp_path / "data")
    assert report["items"] == {"count": N_ITEMS, "attributes": {"price": "double"}}
    assert dataset.sessions("train") == []
    assert not dataset.item_prior().any()
    assert dataset.titles[3] == "Brass lamp number 3"
    assert dataset.item_ids[3] == "i3"


def test_the_report_says_what_was_left_out(tmp_path: Path, items: Path) -> None:
    rows = [{"query": "lamp", "positives": ["i1"]}, {"query": "lamp", "positives": ["B07X"]}]
    settings = PrepareSettings(vocab_size=300, on_error="skip")
    report = prepare(items, write(tmp_path / "s.jsonl", rows), None, tmp_path / "data", settings)
    assert report["rejected"] == {
        "total": 1,
        "by_reason": {"s.jsonl: unknown positive": 1},
        "first": ["s.jsonl:2: positive 'B07X' is not in items.jsonl (12 items)."],
    }
    assert json.loads((tmp_path / "data" / "prepare.json").read_text()) == report


def test_crossed_thresholds_are_refused(tmp_path: Path, items: Path, judgments: Path) -> None:
    settings = PrepareSettings(positive_from=2.0, negative_to=2.0)
    with pytest.raises(DataError, match=r"--negative-to 2\.0 is not below --positive-from 2\.0"):
        prepare(items, None, judgments, tmp_path / "data", settings)


def test_with_sessions_only_the_upper_threshold_counts(
    tmp_path: Path, items: Path, sessions: Path, judgments: Path
) -> None:
    settings = PrepareSettings(positive_from=1.0, vocab_size=300)
    prepare(items, sessions, judgments, tmp_path / "data", settings)
    assert with_sids(tmp_path / "data").positive_from == 1.0


def test_after_an_error_the_older_directory_stands_and_nothing_else(
    tmp_path: Path, items: Path, sessions: Path
) -> None:
    data = tmp_path / "out" / "data"
    prepare(items, None, None, data, SETTINGS)
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    with sessions.open("a") as file:
        file.write('{"query": "lamp", "positives": ["B07X"]}\n')
    with pytest.raises(DataError, match=r"sessions\.jsonl:121: positive 'B07X'"):
        prepare(items, sessions, None, data, SETTINGS)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before
    assert list(data.parent.iterdir()) == [data]


def test_an_interrupted_write_leaves_no_trace(tmp_path: Path) -> None:
    target = tmp_path / "data"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), written_whole(target, "marker") as directory:
            (directory / "half").write_text("")
            raise KeyboardInterrupt
        assert not (target / "half").exists()
        with written_whole(target, "marker") as directory:
            (directory / "marker").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in target.iterdir()] == ["marker"]


def test_a_directory_with_something_else_in_it_is_not_replaced(tmp_path: Path, items: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"home exists and has no prepare\.json; choose another --out"):
        prepare(items, None, None, tmp_path / "home", SETTINGS)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"


def test_a_target_that_cannot_be_made_is_named(tmp_path: Path, items: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        prepare(items, None, None, tmp_path / "file" / "data", SETTINGS)


def test_a_dataset_says_which_command_writes_what_is_missing(tmp_path: Path, items: Path) -> None:
    with pytest.raises(DataError, match=r"items\.parquet not found; write it with 'radsearch prepare'"):
        Dataset.load(tmp_path)
    data = tmp_path / "data"
    prepare(items, None, None, data, SETTINGS)
    with pytest.raises(DataError, match=r"item_embeddings\.npy not found; write it with 'radsearch sids'"):
        Dataset.load(data)
    with_sids(data)
    for name in (*QUERY_FILES, "lexical.npz", "sids.npz"):
        kept = (data / name).read_bytes()
        (data / name).unlink()
        with pytest.raises(DataError, match=f"{name} not found; write it with 'radsearch sids'"):
            Dataset.load(data).pseudo_queries()
        (data / name).write_bytes(kept)
    SidTable.from_item_codes(np.zeros((3, 1), np.int32), (1,)).save(data / "sids.npz")
    with pytest.raises(DataError, match="has 12 items, 12 embeddings, 3 SIDs and 12 texts in its lexical"):
        Dataset.load(data)


def test_the_command_prints_a_summary_or_json(tmp_path: Path, items: Path, judgments: Path) -> None:
    app = typer.Typer()
    app.command()(prepare_command)
    arguments = [
        "--items",
        items,
        "--judgments",
        judgments,
        "--vocab-size",
        "300",
        "--out",
        tmp_path / "data",
    ]
    summary = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert summary.exit_code == 0, summary.output
    assert "12 items" in summary.output
    assert "16 judgments" in summary.output
    machine = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "--json"]])
    assert json.loads(machine.stdout) == json.loads((tmp_path / "data" / "prepare.json").read_text())
