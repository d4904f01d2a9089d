"""``radsearch bench packing`` in a size of seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import packing
from benchmarks.attention import ATTENTIONS, use_attention
from benchmarks.packing import (
    PackingError,
    PackingSettings,
    make_sessions,
    measure,
    new_decoder,
    score_packed,
    score_unpacked,
)
from tests.benchmarks.runner import bench
from training.packing import Packed, Scores

CPU = torch.device("cpu")
TINY = PackingSettings(
    prompt_tokens=5,
    positives=2,
    negatives=2,
    sessions=3,
    rounds=2,
    d_model=32,
    n_layers=2,
    codebooks=(9, 7, 8),
    vocab_size=40,
    precision="full",
)


def padded(sessions: Packed) -> Packed:
    """Sessions whose first prompt is two tokens shorter."""
    mask = sessions.prompts.mask.clone()
    mask[0, :2] = False
    return replace(sessions, prompts=replace(sessions.prompts, mask=mask))


def test_unpacked_scores_are_the_packed_ones() -> None:
    decoder, sessions = new_decoder(TINY, CPU), padded(make_sessions(TINY, CPU))
    packed, unpacked = score_packed(decoder, sessions), score_unpacked(decoder, sessions)
    torch.testing.assert_close(unpacked.log_probs, packed.log_probs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(unpacked.ends, packed.ends, atol=1e-5, rtol=1e-5)
    for level, distribution in enumerate(packed.distributions):
        expected = distribution.expand_as(unpacked.distributions[level])
        torch.testing.assert_close(unpacked.distributions[level], expected, atol=1e-5, rtol=1e-5)


def test_torchs_fused_attention_is_the_decoders() -> None:
    decoder, sessions = new_decoder(TINY, CPU), padded(make_sessions(TINY, CPU))
    own = score_packed(decoder, sessions)
    use_attention(decoder, "sdpa")
    other = score_packed(decoder, sessions)
    torch.testing.assert_close(other.log_probs, own.log_probs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(other.ends, own.ends, atol=1e-5, rtol=1e-5)


def test_a_side_that_computes_something_else_is_no_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(decoder: torch.nn.Module, sessions: Packed) -> Scores:
        scores = score_unpacked(decoder, sessions)
        shifted: Tensor = scores.log_probs * 1.001
        return replace(scores, log_probs=shifted)

    monkeypatch.setitem(packing.LAYOUTS, "unpacked", wrong)
    with pytest.raises(PackingError, match="losses that should be equal differ by"):
        measure(TINY, CPU, print)


def command(*arguments: str) -> str:
    shape = [
        "--prompt-tokens",
        "64",
        "--sessions",
        "16",
        "--rounds",
        "2",
        "--d-model",
        "64",
        "--n-layers",
        "1",
    ]
    result = bench("packing", *shape, "--device", "cpu", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_measures_both_sides_in_turns() -> None:
    measured = json.loads(command("--json"))
    assert measured["settings"]["prompt_tokens"] == 64
    assert measured["throughput_ratio"] > 0
    assert 0 < measured["memory_ratio"] < 1
    assert measured["sessions_per_s"].keys() == measured["memory"].keys() == {"packed", "unpacked"}
    assert 0 <= measured["loss_difference"] <= 1e-5
    assert measured["loss"] > 0
    assert set(measured["attention"]) | set(measured["attention_unavailable"]) == set(ATTENTIONS)
    assert measured["attention"].keys() == measured["attention_unpacked"].keys() >= {"grouped", "sdpa"}
    assert all(len(rounds) == 2 for rounds in measured["seconds"].values())


def test_the_command_prints_a_table_and_writes_a_record(tmp_path: Path) -> None:
    out = tmp_path / "results" / "packing.json"
    printed = command("--seed", "7", "--out", str(out))
    assert "sessions/s, grouped attention" in printed
    assert "peak memory of a step" in printed
    written = json.loads(out.read_text())
    assert written["benchmark"] == "packing"
    assert written["command"].split()[0] == "radsearch"
    assert written.keys() >= {"git", "device", "versions", "throughput_ratio", "memory_ratio"}
    assert written["seeds"] == [7]
