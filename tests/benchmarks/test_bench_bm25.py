"""``radsearch bench bm25`` on a prepared catalogue."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from benchmarks.bm25 import compare
from tests.benchmarks.runner import bench
from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.sids.build import SidSettings, build_sids

TITLES = ("red running shoe", "blue running shoe", "table lamp", "floor lamp", "steel pan", "garden hose")
JUDGMENTS = (
    ("running shoes red", 0, 3, "test"),
    ("running shoes red", 1, 2, "test"),
    ("lamps", 2, 3, "test"),
    ("lamps", 3, 3, "test"),
    ("umbrella", 5, 1, "test"),
    ("steel pan", 4, 3, "train"),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    items = [{"item_id": str(row), "title": title} for row, title in enumerate(TITLES)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    lines = [f"{query},{row},{grade},{split}\n" for query, row, grade, split in JUDGMENTS]
    (tmp_path / "judgments.csv").write_text("query,item_id,grade,split\n" + "".join(lines))
    prepare(tmp_path / "items.jsonl", None, tmp_path / "judgments.csv", tmp_path / "data", PrepareSettings())
    build_sids(tmp_path / "data", SidSettings(codebooks=(3, 3), dim=4), Progress(disable=True))
    return tmp_path / "data"


def test_baselines_are_judged_on_queries_with_a_relevant_item(data: Path) -> None:
    comparison = compare(data, "test")
    assert comparison.n_queries == 2
    assert list(comparison.baselines) == ["BM25", "embedding"]
    metrics = comparison.baselines["BM25"].metrics
    assert metrics["Item Recall@10"].mean == 1
    assert metrics["Item MRR"].mean == 1
    assert metrics["NDCG@10"].mean == pytest.approx(1)


def test_embeddings_made_elsewhere_have_no_row(data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.eye(6, dtype=np.float32))
    settings = SidSettings(embedder=f"npy:{tmp_path / 'e.npy'}", codebooks=(3, 3))
    build_sids(data, settings, Progress(disable=True))
    assert list(compare(data, "test").baselines) == ["BM25"]


def test_a_split_without_queries_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match="has no valid query with a relevant item; choose another --split"):
        compare(data, "valid")


def test_the_command_prints_a_table_for_people(data: Path) -> None:
    result = bench("bm25", "--data", str(data))
    assert result.exit_code == 0, result.output
    assert "Item Recall@10" in result.stdout
    assert "2 test queries" in result.stdout


def test_the_command_prints_one_object_for_machines(data: Path) -> None:
    result = bench("bm25", "--data", str(data), "--split", "train", "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert (printed["benchmark"], printed["split"], printed["n_queries"]) == ("bm25", "train", 1)
    assert printed["baselines"]["BM25"]["metrics"]["Item MRR"]["mean"] == 1
