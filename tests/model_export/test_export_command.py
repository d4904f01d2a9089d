"""``radsearch export`` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_export.errors import ExportError
from radsearch.cli import build
from sid.manifest import Manifest


def run(arguments: list[str]) -> str:
    """What the command prints on stdout; its errors are raised."""
    result = CliRunner().invoke(build(["export", *arguments]), ["export", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_bundle_is_written_and_its_figures_printed(
    made_checkpoint: Path, made_data: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", str(made_checkpoint), "--data", str(made_data)]
    printed = run(
        [
            *arguments,
            "--name",
            "shop",
            "--out",
            str(tmp_path / "out"),
            "--beam-width",
            "4",
            "--beam-width",
            "2",
        ]
    )
    assert [graph.beam_width for graph in Manifest.read(tmp_path / "out").graphs] == [2, 4]
    for expected in ("codebooks 4×3×3", "model_k2_fp32.onnx", "model_k4_fp32.onnx", "from torch's", "MB in"):
        assert expected in printed
    assert f"→ {tmp_path / 'out'}" in printed


def test_json_is_one_object_with_the_proof(made_checkpoint: Path, made_data: Path, tmp_path: Path) -> None:
    arguments = ["--checkpoint", str(made_checkpoint), "--data", str(made_data)]
    printed = run([*arguments, "--name", "shop", "--out", str(tmp_path / "out"), "--json"])
    report = json.loads(printed)
    assert report["proof"]["model_k128_fp32.onnx"]["log_probs_against_torch"] < 1e-4
    assert report["file_bytes"]["manifest.json"] > 0
    assert report["megabytes"] == pytest.approx(sum(report["file_bytes"].values()) / 1e6)


def test_a_name_that_cannot_be_a_label_is_refused(
    made_checkpoint: Path, made_data: Path, tmp_path: Path
) -> None:
    arguments = ["--checkpoint", str(made_checkpoint), "--data", str(made_data)]
    with pytest.raises(ExportError, match="--name 'a/b' is no name"):
        run([*arguments, "--name", "a/b", "--out", str(tmp_path / "out")])


def test_a_mistake_is_one_line_and_exit_code_1(made_data: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "radsearch", "export", "--checkpoint", "nowhere"),
            *("--data", str(made_data), "--name", "shop", "--out", str(tmp_path / "out")),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: nowhere/config.json not found; make a checkpoint with 'radsearch train'"
    ]
    assert not list(tmp_path.iterdir())
