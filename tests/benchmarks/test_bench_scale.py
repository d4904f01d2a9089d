"""``radsearch bench scale``: what it measures of a command, and the whole way with a small catalogue."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import ScaleError, run
from tests.benchmarks.runner import bench


def test_the_peak_is_the_commands_and_not_its_starters(tmp_path: Path) -> None:
    held = np.ones(2**25)
    step = run("--help", [], tmp_path)
    assert step.name == "--help"
    assert 2**20 < step.peak_bytes < held.nbytes
    assert b"radsearch" in (tmp_path / "--help.log").read_bytes()


def test_a_command_that_fails_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ScaleError, match=r"'radsearch sids' failed; see .*sids\.log"):
        run("sids", ["--data", tmp_path / "none"], tmp_path)
    assert "items.parquet not found" in (tmp_path / "sids.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_way_of_a_small_catalogue(tmp_path: Path) -> None:
    out = tmp_path / "scale.json"
    arguments = ["--items", "3000", "--work", str(tmp_path / "work"), "--out", str(out)]
    result = bench("scale", *arguments)
    assert result.exit_code == 0, result.output
    made = json.loads(out.read_text())
    assert [step["name"] for step in made["steps"]] == ["prepare", "sids", "train", "export"]
    assert made["seconds"] == pytest.approx(sum(step["seconds"] for step in made["steps"]))
    assert made["peak_bytes"] == max(step["peak_bytes"] for step in made["steps"])
    assert made["items_per_answer"] == 20
    assert made["per_search"]["answer_bytes"] > 20 * len('{"item_id":"i1","title":""}')
    assert all(value > 0 for value in made["per_search"].values())
    assert 0 < made["search_p50_ms"] <= made["search_p99_ms"]
    assert "all of it" in result.output
