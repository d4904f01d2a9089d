"""``radsearch bench live`` in small: it ends, and no answer is wrong."""

import json
from pathlib import Path

import pytest

from benchmarks import live as module
from benchmarks import live_shop
from benchmarks.live import _agree
from service.schemas import Item, SearchResponse, Timings
from tests.benchmarks.runner import bench


def test_the_command_measures_and_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_shop, "SHOP_ITEMS", 300)
    monkeypatch.setattr(module, "SWAPPED_ITEMS", 200)
    monkeypatch.setattr(module, "REPEATS", 2)
    sizes = ["--delist-items", "500", "--upsert-items", "300", "--searches", "60", "--swaps", "3"]
    out = tmp_path / "live.json"
    result = bench("live", *sizes, "--json", "--out", str(out))
    assert result.exit_code == 0, result.output
    made = json.loads(out.read_text())
    assert made["benchmark"] == "live"
    assert (made["swap"]["searches"], made["swap"]["swaps"], made["swap"]["wrong"]) == (60, 3, 0)
    assert (made["delist"]["items"], made["upsert"]["items"]) == (500, 300)
    assert "60 answers wrong" in bench("live", *sizes).output


def answer(*items: tuple[str, float], title: str = "a hat") -> SearchResponse:
    return SearchResponse(
        request_id="r",
        items=[
            Item(item_id=item_id, score=score, sid=[1], title=title, attributes={})
            for item_id, score in items
        ],
        requested=2,
        returned=2,
        exhausted=False,
        degraded=[],
        cached=False,
        variant="v",
        model="m",
        epoch="e",
        timings_ms=Timings(tokenize=0, queue=0, decode=0, items=0, total=0),
    )


@pytest.mark.parametrize(
    ("given", "agrees"),
    [
        (answer(("a", 2.0), ("b", 1.0)), True),
        (answer(("a", 2.00001), ("b", 1.0)), True),
        (answer(("a", 2.0), ("c", 1.0)), True),  # as good as the last one
        (answer(("c", 2.0), ("b", 1.0)), False),
        (answer(("a", 2.0), ("b", 0.5)), False),
        (answer(("a", 2.0)), False),
        (answer(("a", 2.0), ("b", 1.0), title="another hat"), False),
    ],
)
def test_wrong_answers_are_told_from_right_ones(given: SearchResponse, agrees: bool) -> None:
    assert _agree(given, answer(("a", 2.0), ("b", 1.0))) is agrees
