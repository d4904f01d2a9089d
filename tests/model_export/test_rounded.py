"""Graphs that round: exact integers, independent of neighbours, and refused where rounding costs quality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import model_export.rounded
from model_export.bundle import export_bundle
from model_export.calibration import input_ranges
from model_export.errors import ExportError
from model_export.graph import build_graph
from model_export.graph_blocks import Blocks
from model_export.graph_builder import GraphBuilder, Output
from model_export.proof import weights_of
from model_export.proven_graphs import Precision, ProvenGraph
from model_export.real_queries import search_texts
from model_export.session import GraphSession, Prompts
from model_export.source import Source
from sid import SidTable, Trie
from sid.manifest import Manifest
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.search import Beams

CODEBOOKS = (6, 4, 5)
ALL = tuple(Precision)


@pytest.fixture(scope="module")
def source(made_data: Path, made_checkpoint: Path) -> Source:
    return Source.load(made_checkpoint, made_data)


def test_a_linear_layer_multiplies_integers() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((7, 16)).astype(np.float32)
    x = rng.uniform(-2.5, 2.5, (5, 16)).astype(np.float32)  # beyond the range, too
    g = GraphBuilder()
    blocks = Blocks(g, DecoderConfig(4, (2,), 2), {"layer.weight": weight}, {"layer": 2.0}, False)
    y = blocks.linear(g.input("x", ir.DataType.FLOAT, ["n", 16]), "layer")
    model = ir.to_proto(g.model("linear", {"y": Output(y, ir.DataType.FLOAT, ["n", 7])})).SerializeToString()
    (found,) = ort.InferenceSession(model).run(None, {"x": x})
    step, steps = 2.0 / 127, np.abs(weight).max(axis=1) / 127
    rounded = np.clip(np.rint(x / np.float32(step)), -128, 127)
    expected = rounded @ np.rint(weight / steps[:, None]).T * step * steps
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_ranges_are_the_largest_inputs(decoders: dict[tuple[int, ...], Decoder]) -> None:
    decoder, rng = decoders[CODEBOOKS], np.random.default_rng(1)
    prompts = Prompts(
        rng.integers(4, 40, (2, 5)), np.ones((2, 5), bool), rng.standard_normal((2, 6), np.float32)
    ).unpadded()
    sids = [rng.integers(0, 4, (3, 3)).astype(np.int32) for _ in prompts]
    ranges = input_ranges(decoder, prompts, sids)
    assert len(ranges) == 6 * decoder.config.n_layers  # all but down_proj
    assert ranges["layers.0.self_attn.q_proj"] == ranges["layers.0.self_attn.v_proj"]
    alone = [input_ranges(decoder, [prompt], [of]) for prompt, of in zip(prompts, sids, strict=True)]
    assert ranges == {name: max(one[name] for one in alone) for name in ranges}


def test_an_answer_does_not_depend_on_its_neighbours(decoders: dict[tuple[int, ...], Decoder]) -> None:
    decoder, rng = decoders[CODEBOOKS], np.random.default_rng(2)
    table = SidTable.from_item_codes(np.stack([rng.integers(0, v, 60) for v in CODEBOOKS], axis=1), CODEBOOKS)
    trie = Trie.from_table(table)
    prompts = Prompts(
        rng.integers(4, 40, (4, 5)), np.ones((4, 5), bool), rng.standard_normal((4, 6), np.float32)
    )
    ranges = input_ranges(decoder, prompts.unpadded(), [table.codes[:8]] * 4)
    graph = build_graph(decoder.config, weights_of(decoder), 8, ranges)
    session = GraphSession(ir.to_proto(graph).SerializeToString(), 8, threads=1)
    together = session.search(prompts, trie)
    for row in range(4):
        alone = session.search(prompts[row : row + 1], trie)
        np.testing.assert_array_equal(alone.leaves[0], together.leaves[row])
        np.testing.assert_allclose(alone.log_probs[0], together.log_probs[row], atol=1e-5)


def test_graphs_that_round_stand_beside_those_in_float32(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export.rounded, "MOST_LOST", 1.0)  # an untrained decoder ranks by chance
    searched: list[GraphSession] = []

    def search_and_note(session: GraphSession, dataset: Dataset, texts: Sequence[str]) -> Beams:
        searched.append(session)
        return search_texts(session, dataset, texts)

    monkeypatch.setattr(model_export.rounded, "search_texts", search_and_note)
    graphs: list[ProvenGraph] = []
    export_bundle(source, [36, 40], "shop", tmp_path / "bundle", graphs.append, ALL)
    manifest = Manifest.read(tmp_path / "bundle")
    assert [(graph.beam_width, graph.precision) for graph in manifest.graphs] == [
        (36, "fp32"),
        (36, "int8"),
        (36, "fp16"),
        (40, "fp32"),
        (40, "int8"),
        (40, "fp16"),
    ]
    providers = {graph.precision: graph.provider for graph in manifest.graphs}
    assert providers["fp16"] == "CUDAExecutionProvider"
    assert providers["fp32"] == providers["int8"] == "CPUExecutionProvider"
    assert manifest.metrics["proof"]["model_k40_fp16.onnx"]["log_probs_from_fp32"] < 0.05
    figures = manifest.metrics["proof"]["model_k40_int8.onnx"]
    assert 0.5 < figures["overlap"] <= 1
    assert figures["n_queries"] == 10
    assert len(searched) == 2 * 3  # float32 once per beam width, not once per precision
    assert {"lost Item MRR", "lost NDCG@10"} <= figures.keys()


def test_without_queries_that_judge_nothing_is_rounded(tmp_path: Path, data: Path, checkpoint: Path) -> None:
    judgments = pq.read_table(data / "judgments.parquet")
    pq.write_table(judgments.filter(pc.field("split") != "valid"), data / "judgments.parquet")
    with pytest.raises(ExportError, match=r"graphs that round cannot be judged: .*; or export without"):
        export_bundle(Source.load(checkpoint, data), [36], "shop", tmp_path / "bundle", lambda _: None, ALL)
    assert not (tmp_path / "bundle").exists()


def test_int8_that_loses_too_much_is_refused(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_export.rounded, "MOST_LOST", -1.0)
    with pytest.raises(ExportError, match="export without --precision int8"):
        export_bundle(source, [36], "shop", tmp_path / "bundle", lambda _: None, ALL)
    assert not (tmp_path / "bundle").exists()
