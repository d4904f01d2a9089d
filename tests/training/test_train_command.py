"""``radsearch train`` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from radsearch.cli import build
from sid import RadsearchError
from training.checkpoint import load_decoder, load_ordering, load_provenance
from training.settings import SettingsError
from training.train import StartError

SMALL = (
    *("--batch-size", "10", "--steps", "4", "--d-model", "16", "--n-layers", "1"),
    *("--set", "model.head_dim=8", "--set", "model.vector_dim=4"),
)


def train(*arguments: str | Path) -> Result:
    argv = ["train", *map(str, arguments)]
    result = CliRunner().invoke(build(argv), argv)
    if isinstance(result.exception, RadsearchError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def sft(session_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sft"
    train("--data", session_data, "--out", out, *SMALL)
    return out


def test_a_checkpoint_comes_out(sft: Path) -> None:
    decoder, provenance = load_decoder(sft), load_provenance(sft)
    assert (decoder.config.d_model, decoder.config.n_heads, decoder.config.d_ff) == (16, 2, 48)
    assert provenance.objective == "sft"
    assert provenance.parent is None
    assert provenance.settings["batch_size"] == 10
    assert provenance.figures["steps"] == 4
    assert provenance.figures["peak_memory_mb"]["main"] > 0
    assert load_ordering(sft).to_dict() == provenance.figures["ordering"]
    assert [entry.name for entry in sft.parent.iterdir()] == ["sft"]


def test_rad_dpo_starts_from_it_and_reports_json(sft: Path, session_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "rad-dpo"
    result = train(
        *("--data", session_data, "--objective", "rad-dpo", "--from", sft, "--out", out),
        *(
            "--steps",
            "3",
            "--set",
            "objective.listwise=calibrated",
            "--set",
            "objective.tlgd=false",
            "--json",
        ),
    )
    figures = json.loads(result.stdout)
    assert figures["final"].keys() >= {"preference", "sft", "pairs won", "query vector"}
    provenance = load_provenance(out)
    assert provenance.parent == str(sft)
    assert provenance.settings["objective"]["listwise"] == "calibrated"
    assert provenance.settings["objective"]["tlgd"] is False


def test_flags_come_before_the_environment_and_that_before_the_file(
    session_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "train.toml"
    config.write_text(
        "steps = 9\nseed = 9\nbatch_size = 9\n[model]\nd_model = 16\nhead_dim = 8\nn_layers = 1\n"
    )
    monkeypatch.setenv("RADSEARCH_TRAIN_SEED", "8")
    monkeypatch.setenv("RADSEARCH_TRAIN_STEPS", "8")
    train("--data", session_data, "--out", tmp_path / "out", "--config", config, "--steps", "2")
    settings = load_provenance(tmp_path / "out").settings
    assert (settings["steps"], settings["seed"], settings["batch_size"]) == (2, 8, 9)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--objective", "ppo"), SettingsError, "no objective 'ppo'; choose from sft"),
        (("--set", "objective.beta=1"), SettingsError, "sft has no option 'beta'; it has none"),
        (("--objective", "rad-dpo", "--set", "objective.beta=x"), SettingsError, "objective.beta: "),
        (("--set", "colour=red"), SettingsError, "no setting 'colour'"),
        (("--set", "steps"), SettingsError, "'steps' is no assignment"),
        (("--batch-size", "0"), SettingsError, "batch_size: .* greater than or equal to 1"),
        (("--config", "missing.toml"), SettingsError, "missing.toml not found"),
        (("--set", "model.n_heads=3", "--set", "model.n_kv_heads=2"), SettingsError, "no multiple"),
        (("--from", "a", "--init-from", "b"), StartError, "give one of them"),
        (("--from", "missing"), RadsearchError, "missing/config.json not found"),
        (("--data", "missing"), RadsearchError, "missing/items.parquet not found"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(
    arguments: tuple[str, ...], error: type[Exception], message: str, session_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train("--data", session_data, "--out", tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_broken_config_file_is_named(session_data: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text("steps = ")
    with pytest.raises(SettingsError, match="is not TOML"):
        train("--data", session_data, "--out", tmp_path / "out", "--config", config)


def test_a_checkpoint_of_other_data_is_refused(sft: Path, judged_data: Path, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="was trained with vocab_size"):
        train("--data", judged_data, "--out", tmp_path / "out", "--from", sft)


def test_a_directory_that_is_no_checkpoint_is_not_replaced(session_data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("thesis")
    with pytest.raises(RadsearchError, match="exists and has no"):
        train("--data", session_data, "--out", tmp_path, *SMALL)
    assert (tmp_path / "precious").read_text() == "thesis"


def test_two_processes_learn_what_one_learns(sft: Path, session_data: Path, tmp_path: Path) -> None:
    options = [
        *("--data", session_data, "--objective", "rad-dpo", "--from", sft),
        *("--batch-size", "10", "--steps", "6", "--device", "cpu"),
        *("--set", "precision=full"),
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    train(*options, "--out", one)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "radsearch")
    done = subprocess.run(
        [sys.executable, *torchrun, "train", *map(str, options), "--out", str(two)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert load_provenance(two).figures["processes"] == 2
    histories = (load_provenance(path).figures["history"] for path in (one, two))
    for alone, together in zip(*histories, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)
        assert together["preference"] == pytest.approx(alone["preference"], rel=1e-3)
    weights = load_decoder(two).state_dict()
    for name, tensor in load_decoder(one).state_dict().items():
        torch.testing.assert_close(weights[name], tensor, atol=2e-4, rtol=1e-3)
