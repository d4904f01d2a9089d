"""``radsearch bench decode`` in a size of seconds."""

import json
from typing import Any

import pytest

from benchmarks.decode import command
from benchmarks.decode.cell import Pace
from benchmarks.decode.command import DecodeSettings
from benchmarks.decode.setup import Shape
from benchmarks.decode.speed import SPEEDUPS, SpeedSettings
from benchmarks.decode.trie_speed import TrieSettings
from tests.benchmarks.runner import bench

AT_ONCE = Pace(rounds=1, turn_s=0.0)
SHAPE = Shape(d_model=32, n_layers=1, vocab_size=40, codebooks=(9, 7, 8), n_sids=200, prompt_tokens=4)
TINY = DecodeSettings(
    SpeedSettings(AT_ONCE, (SHAPE,)),
    TrieSettings(AT_ONCE, (16,), (100,), (0.0,), (1,), (3,)),
    filter_rounds=1,
    exact_cases=30,
    filtered_batches=1,
    filtered_sids=200,
    largest_n_sids=1_000,
)


def run(*arguments: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(command, "THREADS", 1)  # more of them wait for one another on a busy machine
        result = bench("decode", "--quick", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``--json`` prints, after it was found to be what ``--out`` writes."""
    out = tmp_path_factory.mktemp("results") / "decode.json"
    result: dict[str, Any] = json.loads(run("--json", "--seed", "3", "--out", str(out)))
    assert result == json.loads(out.read_text())
    return result


def test_the_command_prints_one_object(printed: dict[str, Any]) -> None:
    assert printed["benchmark"] == "decode"
    assert printed["seeds"] == [3]
    assert printed["device"]["threads"] == 1
    assert printed["versions"]["onnxruntime"]
    assert printed.keys() >= {"command", "git", "trie_vs_static", "busy_elsewhere", *SPEEDUPS}
    assert all(printed[figure] > 0 for figure in SPEEDUPS)
    assert printed["exact_cases"] >= 30
    assert printed["exact_failures"] == printed["filters"]["judged"]["failures"] == 0
    assert printed["filters"]["decoder"] == "32x1"
    assert printed["scale"]["n_sids"] == pytest.approx(1_000, rel=0.05)


def test_the_command_prints_tables(printed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: {**printed, "busy_elsewhere": 0.5})
    shown = run()
    lines = (
        "speedup_vs_eager_b32",
        "trie_vs_static",
        "exact: ",
        "filters add",
        "trie built in",
        "0.5 cores busy",
    )
    for text in ("generate, ms", "static, ms", *lines):
        assert text in shown


def test_quick_measures_the_main_decoder() -> None:
    assert command.QUICK.speed.shapes == (Shape(),)
    assert {shape.name for shape in command.FULL.speed.shapes} == {"128x2", "256x4", "512x8"}
