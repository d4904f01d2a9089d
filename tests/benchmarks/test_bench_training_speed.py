"""``radsearch bench training-speed`` in a size of seconds, TRL included."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.sessions import SessionsError, build_shop, choose_sessions, make_pairs, packed_tokens
from benchmarks.training_speed import SpeedSettings, measure
from benchmarks.trl_dpo import pair_tokens
from tests.benchmarks.runner import bench
from training.dataset import Dataset
from training.distributed import World
from training.model import DecoderConfig
from training.tokenizer import BOS, SEP

TINY = SpeedSettings(sessions=12, batch_size=4, pairs_per_step=8, rounds=1, d_model=32, n_layers=1)
WORLD = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("shop"), 300, seed=0)


def config_of(dataset: Dataset) -> DecoderConfig:
    return DecoderConfig(dataset.tokenizer.get_vocab_size(), dataset.sids.codebook_sizes, 8)


def test_chosen_sessions_are_training_sessions_cut_to_a_step(data: Path) -> None:
    dataset = Dataset.load(data)
    few = choose_sessions(dataset, 9, max_positives=2, max_negatives=3, seed=1)
    sessions = few.sessions("train")
    assert len(sessions) == 9
    assert all(1 <= len(session.positives) <= 2 for session in sessions)
    assert all(1 <= len(session.negatives) <= 3 for session in sessions)
    known = {
        (session.query, frozenset(session.positives.tolist()) | frozenset(session.negatives.tolist()))
        for session in dataset.sessions("train")
    }
    for session in sessions:
        items = {*session.positives.tolist(), *session.negatives.tolist()}
        assert any(session.query == query and items <= shown for query, shown in known)
    again = choose_sessions(dataset, 9, max_positives=2, max_negatives=3, seed=1)
    assert [session.query for session in again.chosen] == [session.query for session in few.chosen]
    assert len(few.sessions("valid")) == len(dataset.sessions("valid"))


def test_more_sessions_than_there_are_is_an_error(data: Path) -> None:
    with pytest.raises(SessionsError, match="training sessions with negatives; give --sessions"):
        choose_sessions(Dataset.load(data), 10**6, 4, 3, seed=0)


def test_pairs_name_every_preference_once(data: Path) -> None:
    few = choose_sessions(Dataset.load(data), 9, 4, 3, seed=1)
    config = config_of(few)
    codes = few.sids.codes[few.sids.leaf_of_item()].tolist()
    n_tokens = config.vocab_size + sum(config.codebook_sizes)
    expected = []
    for session in few.chosen:
        for positive in session.positives:
            expected += [
                (session.query, codes[positive], codes[n])
                for n in session.negatives
                if codes[n] != codes[positive]
            ]
    pairs = make_pairs(few, config)
    assert len(pairs) == len(expected)
    for pair, (query, chosen, rejected) in zip(pairs, expected, strict=True):
        assert pair.prompt == few.tokenizer.encode(query).ids
        assert (pair.prompt[0], pair.prompt[-1]) == (BOS, SEP)
        starts = [config.vocab_size, config.vocab_size + config.codebook_sizes[0]]
        starts.append(starts[-1] + config.codebook_sizes[1])
        assert [token - start for token, start in zip(pair.chosen, starts, strict=True)] == chosen
        assert [token - start for token, start in zip(pair.rejected, starts, strict=True)] == rejected
        assert max(*pair.chosen, *pair.rejected) < n_tokens
        assert pair_tokens(pair) == 2 * (len(pair.prompt) + 3 + 1)


def test_a_packed_session_is_one_prompt_and_its_candidates(data: Path) -> None:
    few = choose_sessions(Dataset.load(data), 1, 4, 3, seed=1)
    session = few.chosen[0]
    n_candidates = len(session.positives) + len(session.negatives)
    assert (
        packed_tokens(few, config_of(few)) == len(few.tokenizer.encode(session.query).ids) + 2 * n_candidates
    )


@pytest.fixture(scope="module")
def measured(data: Path) -> dict[str, Any]:
    return measure(data, TINY, WORLD, print)


def test_both_loops_are_measured(measured: dict[str, Any]) -> None:
    assert measured["ratio_vs_trl"] > 0
    assert measured["ours"].keys() == {"dpo", "rad-dpo"}
    for one in measured["ours"].values():
        assert one["sessions_per_s"] > 0
        assert one["tokens_per_s"] > 0
        assert 0 < one["data_share"] < 1
        assert math.isfinite(one["loss"])
    assert measured["trl"]["sessions_per_s"] > 0
    assert measured["trl"]["tokens_per_s"] > 0
    assert 0 < measured["data_share"] < 1
    assert measured["seconds"].keys() == {"dpo", "rad-dpo", "trl dpo"}


def test_both_loops_train_dpo_from_their_reference(measured: dict[str, Any]) -> None:
    """Both begin where margins are 0, at ln 2, and a few small steps do not lead far away."""
    assert measured["ours"]["dpo"]["loss"] == pytest.approx(math.log(2), abs=0.05)
    assert measured["trl"]["loss"] == pytest.approx(math.log(2), abs=0.05)


def test_both_models_are_of_one_size(measured: dict[str, Any]) -> None:
    """Ours has the query vector's heads besides, and norms and embeddings are the same."""
    assert measured["parameters"]["trl"] == pytest.approx(measured["parameters"]["ours"], rel=0.3)


@pytest.mark.slow
def test_without_a_compiler_the_reason_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    monkeypatch.setattr("torch._inductor.config.force_disable_caches", True)
    compiling = measure(data, SpeedSettings(**{**vars(TINY), "compiled": True}), WORLD, print)["compile"]
    assert compiling["measured"] is False
    assert compiling["reason"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_compiled_decoder_learns_the_same(data: Path) -> None:
    measured = measure(data, SpeedSettings(**{**vars(TINY), "compiled": True}), WORLD, print)
    assert measured["compile"]["measured"], measured["compile"]
    assert measured["compile"]["ratio"] > 0
    own = measured["ours"]
    assert own["rad-dpo compiled"]["loss"] == pytest.approx(own["rad-dpo"]["loss"], abs=1e-2)


def test_the_command_prints_one_object_and_writes_a_record(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "training-speed.json"
    shape = ["--sessions", "6", "--batch-size", "3", "--rounds", "1", "--d-model", "32", "--n-layers", "1"]
    arguments = [
        "training-speed",
        "--data",
        str(data),
        *shape,
        "--device",
        "cpu",
        "--json",
        "--out",
        str(out),
    ]
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed == json.loads(out.read_text())
    assert printed["benchmark"] == "training-speed"
    assert printed["settings"]["sessions"] == 6
    assert printed["versions"]["trl"]
    assert printed.keys() >= {"command", "git", "device", "seeds", "ratio_vs_trl", "data_share", "compile"}


def test_the_command_prints_a_table(data: Path) -> None:
    shape = ["--sessions", "4", "--batch-size", "4", "--rounds", "1", "--d-model", "32", "--n-layers", "1"]
    result = bench("training-speed", "--data", str(data), *shape, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "rad-dpo" in result.stdout
    assert "trl dpo" in result.stdout
    assert "times TRL's sessions/s" in result.stdout
