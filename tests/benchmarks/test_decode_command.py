"""``radsearch bench decode`` in a size of seconds."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.commands import bench
from benchmarks.decode import command
from benchmarks.decode.cell import Pace
from benchmarks.decode.command import DecodeSettings
from benchmarks.decode.setup import Shape
from benchmarks.decode.speed import SPEEDUPS, DecodeError, SpeedSettings
from benchmarks.decode.trie_speed import TrieSettings

AT_ONCE = Pace(rounds=1, turn_s=0.0)
SHAPE = Shape(d_model=32, n_layers=1, vocab_size=40, codebooks=(9, 7, 8), n_sids=200, prompt_tokens=4)
TINY = DecodeSettings(
    SpeedSettings(AT_ONCE, (SHAPE,)),
    TrieSettings(AT_ONCE, (16,), (100,), (0.0,), (1,), (3,)),
    exact_cases=30,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "QUICK", TINY)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(bench, ["decode", "--quick", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_prints_one_object_and_writes_a_record(tmp_path: Path) -> None:
    out = tmp_path / "results" / "decode.json"
    printed = json.loads(run("--json", "--seed", "3", "--out", str(out)))
    assert printed == json.loads(out.read_text())
    assert printed["benchmark"] == "decode"
    assert printed["seeds"] == [3]
    assert printed["device"]["threads"] == 2
    assert printed["versions"]["onnxruntime"]
    assert printed.keys() >= {"command", "git", "trie_vs_static", *SPEEDUPS}
    assert all(printed[figure] > 0 for figure in SPEEDUPS)
    assert printed["exact_cases"] >= 30
    assert printed["exact_failures"] == 0


def test_the_command_prints_tables() -> None:
    printed = run()
    for text in ("generate, ms", "speedup_vs_eager_b32", "static, ms", "trie_vs_static", "exact: "):
        assert text in printed


def test_what_runs_on_a_cpu_is_not_compared_on_a_gpu() -> None:
    with pytest.raises(DecodeError, match="use --device cpu"):
        command.measure(TINY, 0, torch.device("cuda"), print)


def test_quick_measures_the_main_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert command.QUICK.speed.shapes == (Shape(),)
    assert {shape.name for shape in command.FULL.speed.shapes} == {"128x2", "256x4", "512x8"}
