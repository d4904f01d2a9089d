"""``radsearch bench decode --device cuda`` on a CPU, where it takes the same steps and captures nothing."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.decode import command, gpu
from benchmarks.decode.cell import Pace
from benchmarks.decode.eager import eager_search
from benchmarks.decode.gpu import GpuSettings, agreement, bytes_read, copy_bandwidth, measure, require_cuda
from benchmarks.decode.replay import Replay
from benchmarks.decode.setup import Setup, Shape
from benchmarks.decode.speed import DecodeError
from tests.benchmarks.runner import bench
from training.distributed import DeviceError
from training.search import TrieTree

CPU = torch.device("cpu")
TINY = Shape(d_model=32, n_layers=2, vocab_size=40, codebooks=(9, 7, 8), n_sids=60, prompt_tokens=6)
SETTINGS = GpuSettings(
    Pace(rounds=1, turn_s=0.0),
    (TINY, replace(TINY, n_layers=1)),
    beam_width=5,
    batch_sizes=(1, 3),
    codebook=16,
    n_sids=100,
    copied_bytes=2**16,
)
N_LAYER_WEIGHTS = (
    2 * 16 + 2 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 32 * 96
)  # norms, q and o, k and v, the rest


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measure(SETTINGS, 0, CPU, lambda _: None)


def test_searches_are_timed_beside_their_floor(figures: dict[str, Any]) -> None:
    assert [(row["shape"], row["beam_width"], row["batch_size"]) for row in figures["decode"]] == [
        (shape, 5, batch_size) for shape in ("32x2", "32x1") for batch_size in (1, 3)
    ]
    for row in figures["decode"]:
        assert row["milliseconds"].keys() == {"ours", "torch graph", "eager"}
        assert all(0 < time < math.inf for time in row["milliseconds"].values())
        assert row["times_floor"] == row["milliseconds"]["ours"] / row["floor_ms"]
    assert figures["times_floor"] == max(row["times_floor"] for row in figures["decode"])
    assert figures["speedup_vs_torch_graph"] == min(
        row["milliseconds"]["torch graph"] / row["milliseconds"]["ours"] for row in figures["decode"]
    )


def test_float16_finds_what_float32_finds(figures: dict[str, Any]) -> None:
    assert figures["fp16_agreement"] >= 0.99


def test_trie_steps_are_timed_beside_static(figures: dict[str, Any]) -> None:
    static = {f"static{levels}{how}" for levels in ("", ", one dense level") for how in ("", ", captured")}
    assert [(row["skew"], row["batch_size"]) for row in figures["trie"]] == [
        (skew, batch_size) for skew in (0.0, 1.1) for batch_size in (1, 3)
    ]
    for row in figures["trie"]:
        assert row["milliseconds"].keys() == {"ours", *static}
        assert (row["codebook"], row["n_sids"], row["beam_width"]) == (16, 100, 5)
    assert figures["trie_ms"] == max(row["milliseconds"]["ours"] for row in figures["trie"])


def test_the_floor_reads_layers_once_a_pass_and_each_codebook_once() -> None:
    setup = Setup.make(TINY, 0)
    assert bytes_read(setup) == 2 * (3 * 2 * N_LAYER_WEIGHTS + (9 + 7 + 8) * 32)
    assert 0 < copy_bandwidth(2**20, CPU) < math.inf


def test_ranks_agree_where_scores_are_close() -> None:
    exact = np.float32([[-0.5, -2.0, -300.0, -1e30]])
    assert agreement(exact, exact) == 1.0
    assert agreement(exact + np.float32([[0.009, 0.019, 2.9, 0.0]]), exact) == 1.0
    assert agreement(exact + np.float32([[0.011, 0.021, 3.1, 0.0]]), exact) == 0.25


def test_a_replay_runs_on_the_values_it_is_given() -> None:
    place = torch.zeros(3)
    doubled = Replay(lambda x: (2 * x,), [place])
    (found,) = doubled(torch.tensor([1.0, 2.0, 3.0]))
    assert found.tolist() == [2.0, 4.0, 6.0]
    assert doubled.again()[0].tolist() == [2.0, 4.0, 6.0]


def test_torch_searches_in_float16() -> None:
    setup = Setup.make(TINY, 0)
    prompts = setup.prompts(3)
    expected = eager_search(setup.decoder, prompts, TrieTree.from_trie(setup.trie), 5)
    for search in gpu.torch_searches(setup, 5, CPU).values():
        for row, sids in zip(search(prompts).sids.tolist(), expected.sids.tolist(), strict=True):
            assert len({tuple(sid) for sid in row} & {tuple(sid) for sid in sids}) >= 4


def test_the_third_shape_is_that_of_qwen3_0_6b() -> None:
    config = gpu.ON_GPU.shapes[2].config()
    assert (config.d_model, config.n_layers, config.d_ff, config.vocab_size) == (1024, 28, 3072, 151_936)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (16, 8, 128)


def test_the_figures_are_printed(figures: dict[str, Any]) -> None:
    console = Console(record=True, width=200)
    command._print(figures, console)
    shown = console.export_text()
    for text in ("torch graph, ms", "floor, ms", "static, captured, ms", *gpu.FIGURES):
        assert text in shown


def test_without_a_gpu_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found = bench("decode", "--device", "cuda")
    assert isinstance(found.exception, DeviceError)
    assert "use --device cpu" in str(found.exception)
    with pytest.raises(DecodeError, match=r"install 'radsearch\[gpu\]'"):
        require_cuda()
