"""``radsearch bench sizing``: what it works out agrees with what was measured, and with a count by torch."""

import json
from pathlib import Path

import orjson
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.decode.setup import Setup, Shape
from benchmarks.sizing import (
    DECODE,
    SCALE,
    CoreTime,
    Machine,
    Precision,
    SizingError,
    Work,
    layer_weights,
    needed,
    shape_of,
)
from sid import Trie
from tests.benchmarks.runner import bench
from training.model import Decoder
from training.search import TrieTree, constrained_search

SMALL = Shape(d_model=128, n_layers=2, codebooks=(64, 64, 64), n_sids=500, prompt_tokens=16)


def test_the_weights_of_a_layer_are_the_decoders() -> None:
    for shape in (SMALL, Shape(), Shape(d_model=512, n_layers=8)):
        decoder = Decoder(shape.config())
        matrices = [p.numel() for p in decoder.layers.parameters() if p.dim() > 1]
        assert shape.n_layers * layer_weights(shape) == sum(matrices)


def test_products_are_those_that_torch_counts() -> None:
    """The eager search does the same products; it also reads padding and scores before it drops."""
    setup = Setup.make(SMALL, 0)
    trie = TrieTree.from_trie(Trie.from_table(setup.table), torch.device("cpu"))
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        constrained_search(setup.decoder, setup.prompts(1), trie=trie, beam_width=32)
    assert Work.of(SMALL, 32).gflop == pytest.approx(counter.get_total_flops() / 1e9, rel=0.1)


@pytest.mark.parametrize(("precision", "error"), [(Precision.FP32, 0.1), (Precision.INT8, 0.2)])
def test_the_time_of_a_core_agrees_with_every_full_batch_measured(precision: Precision, error: float) -> None:
    measured = orjson.loads(DECODE.read_bytes())
    cores = measured["device"]["cores"]
    fitted = CoreTime.fit(measured["decode"], cores, precision)
    assert fitted.worst < error
    for cell in measured["decode"]:
        if cell["batch_size"] == 32:
            spent = cores * cell["milliseconds"][precision] / 32
            told = fitted.of(Work.of(shape_of(cell["shape"]), cell["beam_width"]))
            assert told == pytest.approx(spent, rel=fitted.worst + 1e-9)


def test_a_fit_finds_the_costs_that_times_were_made_of() -> None:
    made = CoreTime(per_gflop=3.0, per_melement=7.0, worst=0.0)
    cells = [
        {
            "shape": shape,
            "beam_width": beam_width,
            "batch_size": 8,
            "milliseconds": {"int8": 8 * made.of(Work.of(shape_of(shape), beam_width)) / 2},
        }
        for shape in ("128x2", "256x4", "512x8")
        for beam_width in (32, 128)
    ]
    found = CoreTime.fit(cells, 2, Precision.INT8)
    assert (found.per_gflop, found.per_melement) == pytest.approx((3.0, 7.0))
    assert found.worst == pytest.approx(0, abs=1e-9)
    with pytest.raises(SizingError, match="fewer than two full batches"):
        CoreTime.fit(cells[:1], 2, Precision.INT8)


def test_what_is_needed_is_what_was_measured_times_what_is_asked() -> None:
    """At the measured catalogue and one search per second, all of a machine used: the measured figures."""
    scale = orjson.loads(SCALE.read_bytes())
    core_ms = {"decode": 3.0, "around": 1.0}
    found = needed(scale["items"], 1.0, core_ms, scale, Machine(1, 1e12, 1.0))
    assert found["cores"] == pytest.approx({"decode": 0.003, "around": 0.001})
    assert found["replicas"] == 1
    assert found["replica_gb"] == pytest.approx(scale["service_bytes"] / 1e9)
    assert found["redis"]["gb"] == pytest.approx(scale["redis_bytes"] / 1e9)
    assert found["answers_gbit_s"] == pytest.approx(8e-9 * scale["per_search"]["answer_bytes"])
    more = needed(10 * scale["items"], 1000.0, core_ms, scale, Machine(1, 1e12, 0.5))
    assert more["replicas"] == 8
    assert more["replica_gb"] == pytest.approx(10 * found["replica_gb"])
    assert more["most_items"] == pytest.approx(found["most_items"] / 2, abs=1)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    out = tmp_path / "sizing.json"
    arguments = ["--items", "1000000", "--rate", "100", "--shape", "128x2", "--beam-width", "32"]
    result = bench("sizing", *arguments, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "replicas" in result.output
    assert json.loads(out.read_text())["asked"]["items"] == 1_000_000


@pytest.mark.parametrize("option", [["--shape", "256"], ["--shape", "0x4"], ["--precision", "int4"]])
def test_what_cannot_be_read_is_refused(option: list[str]) -> None:
    assert isinstance(bench("sizing", *option).exception, SizingError)
