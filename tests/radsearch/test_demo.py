"""The demo runs the path's own commands, once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from radsearch.demo import VARIANTS, DemoError, Step, build, experiment
from sid.manifest import FORMAT_VERSION, Manifest
from tests.service.waiting import until


def help_step(output: Path, command: str = "shop") -> Step:
    return Step("Show help", (command, "--help"), output)


def test_a_step_runs_once_and_again_when_its_command_changes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output, record = tmp_path / "output", tmp_path / "steps.json"
    output.touch()
    build([help_step(output)], record, Console())
    assert "done before" not in capfd.readouterr().out
    build([help_step(output)], record, Console())
    assert "done before" in capfd.readouterr().out
    build([help_step(output, "loadtest")], record, Console())
    assert "done before" not in capfd.readouterr().out


def test_a_step_that_runs_makes_the_later_ones_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second, record = tmp_path / "first", tmp_path / "second", tmp_path / "steps.json"
    first.touch()
    second.touch()
    steps = [help_step(first), help_step(second)]
    build(steps, record, Console())
    first.unlink()
    capfd.readouterr()
    build(steps, record, Console())
    assert "done before" not in capfd.readouterr().out


def test_a_failing_step_ends_the_demo_and_is_not_recorded(tmp_path: Path) -> None:
    record = tmp_path / "steps.json"
    with pytest.raises(DemoError, match="shop --nonsense"):
        build([Step("Fail", ("shop", "--nonsense"), tmp_path / "output")], record, Console())
    assert not record.exists()


def test_told_to_end_it_ends_the_step_that_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radsearch", "demo", "--dir", str(tmp_path), "--items", "100000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as demo:
        step = started_by(demo.pid)
        demo.terminate()
        assert demo.wait(timeout=30) == 128 + signal.SIGTERM
    assert not Path(f"/proc/{step}").exists()


def started_by(parent: int) -> int:
    """The one process that another has started, once it has."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    until(lambda: children.read_text() != "")
    time.sleep(0.1)  # who starts a process knows it a little later than it can be seen
    return int(children.read_text())


def test_both_variants_share_the_traffic() -> None:
    (rule,) = experiment()["variant"]["rules"]
    assert rule["variations"] == list(VARIANTS)
    assert sum(rule["weights"]) == 1


def test_the_whole_path_runs_at_a_small_scale(tmp_path: Path) -> None:
    """Shop, prepare, sids, two trainings, two evaluations, two proved bundles; a few training steps only."""
    directory = tmp_path / "demo"
    command = [
        *(sys.executable, "-m", "radsearch", "demo", "--dir", str(directory)),
        *("--items", "300", "--no-serve"),
    ]
    few_steps = {**os.environ, "RADSEARCH_TRAIN_STEPS": "4"}
    first = subprocess.run(command, env=few_steps, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    for name in VARIANTS:
        manifest = Manifest.read(directory / "bundles" / name)
        assert manifest.name == name
        assert "NDCG@10" in manifest.metrics["evaluation"]["metrics"]
    again = subprocess.run(command, env=few_steps, capture_output=True, text=True, check=False)
    assert again.stdout.count("done before") == 9
    steps = json.loads((directory / f"steps-{FORMAT_VERSION}.json").read_text(encoding="utf-8"))
    assert len(steps) == 9
