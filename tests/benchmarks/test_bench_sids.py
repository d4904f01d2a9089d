"""``radsearch bench sids``: a tiny ablation from end to end, and its figures by brute force."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress

from benchmarks.sids import FIRST, GridError, Point, judge, parse_grid
from sid import SidTable
from tests.benchmarks.runner import bench
from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.sids.build import SidSettings, build_sids

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("running shoe", "table lamp", "steel pan", "garden hose")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """20 items in near-equal groups of 5, a train and a valid query for each."""
    titles = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    items = [{"item_id": str(row), "title": title} for row, title in enumerate(titles)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    lines = [
        f"{title}{suffix},{row},3,{split}\n"
        for row, title in enumerate(titles)
        for suffix, split in (("", "train"), (" new", "valid"))
    ]
    (tmp_path / "judgments.csv").write_text("query,item_id,grade,split\n" + "".join(lines))
    prepare(tmp_path / "items.jsonl", None, tmp_path / "judgments.csv", tmp_path / "data", PrepareSettings())
    build_sids(tmp_path / "data", SidSettings(codebooks=(3, 3), dim=4), Progress(disable=True))
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> str:
    small = ("--steps", "2", "--set", "model.d_model=32", "--set", "batch_size=4", "--set", "device=cpu")
    result = bench("sids", "--data", str(data), *small, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_point_of_the_grid_is_measured(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "sids.json"
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}

    made = json.loads(run(data, "--grid", "3,2;4", "--beam-width", "8", "--out", str(out), "--json"))

    assert json.loads(out.read_text()) == made
    assert made["benchmark"] == "sids"
    assert made["seeds"] == [0]
    assert made["settings"]["steps"] == 2
    assert [(point["codebooks"], point["balanced"]) for point in made["points"]] == [
        ([3, 2], False),
        ([3, 2], True),
        ([4], False),
        ([4], True),
    ]
    for point in made["points"]:
        assert [level["codebook_size"] for level in point["sids"]["levels"]] == point["codebooks"]
        assert set(point["metrics"]) == {
            "SID Recall@8",
            "SID MRR",
            "Candidate recall",
            f"Candidate recall, first {FIRST}",
            "Candidates",
        }
        # 8 beams are every SID there is, so they hold every item.
        assert point["metrics"]["Candidate recall"]["mean"] == 1
        assert point["metrics"]["Candidates"]["mean"] == 20
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_people_get_two_tables(data: Path) -> None:
    printed = run(data, "--grid", "3,2", "--seeds", "0,1", "--balanced", "yes")
    assert printed.count("balanced") == 4
    assert "plain" not in printed
    assert "20" in printed
    assert "valid queries" in printed


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30),
    st.integers(1, 4),
    st.data(),
)
def test_shares_agree_with_brute_force(
    sids: list[tuple[int, int]], n_queries: int, data: st.DataObject
) -> None:
    table = SidTable.from_item_codes(np.array(sids), (3, 3))
    rows = st.lists(st.integers(0, len(sids) - 1), min_size=1, unique=True)
    leaves = st.lists(st.integers(0, table.n_leaves - 1), min_size=1, unique=True)
    relevant = [data.draw(rows) for _ in range(n_queries)]
    found = [np.array(data.draw(leaves)) for _ in range(n_queries)]

    values = judge(table, relevant, found, beam_width=8)

    for query in range(n_queries):
        known = [tuple(table.codes[leaf]) for leaf in found[query]]
        held = [item for item in range(len(sids)) if sids[item] in known]
        assert values["Candidates"][query] == len(held)
        share = sum(item in held for item in relevant[query]) / len(relevant[query])
        assert values["Candidate recall"][query] == pytest.approx(share)
        ranks = [rank for rank, sid in enumerate(known, 1) if sid in {sids[item] for item in relevant[query]}]
        assert values["SID MRR"][query] == pytest.approx(1 / ranks[0] if ranks else 0)


def test_the_first_candidates_are_those_of_the_likeliest_sids() -> None:
    table = SidTable.from_item_codes(np.repeat([[0], [1]], (FIRST, 5), axis=0), (2,))
    values = judge(table, [[0, FIRST], [0, FIRST]], [np.array([0, 1]), np.array([1, 0])], beam_width=8)
    assert values["Candidate recall"].tolist() == [1, 1]
    assert values[f"Candidate recall, first {FIRST}"].tolist() == [0.5, 1]


def test_a_grid_is_every_combination() -> None:
    assert parse_grid("4,4;8", "both", "0,2") == [
        Point((4, 4), False, 0),
        Point((4, 4), False, 2),
        Point((4, 4), True, 0),
        Point((4, 4), True, 2),
        Point((8,), False, 0),
        Point((8,), False, 2),
        Point((8,), True, 0),
        Point((8,), True, 2),
    ]


def test_a_grid_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="not a list of positive sizes"):
        parse_grid("4,4;", "both", "0")
    for seeds in ("", "a", "-1", "0;1"):
        with pytest.raises(GridError, match="not a list of whole numbers; write it as 0,1,2"):
            parse_grid("4,4", "no", seeds)
