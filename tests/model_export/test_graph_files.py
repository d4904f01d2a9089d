"""Graphs that share one file of weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from model_export.errors import ExportError
from model_export.graph import build_graph
from model_export.graph_files import GraphWriter
from model_export.proof import weights_of
from model_export.session import GraphSession, Prompts
from sid import SidTable, Trie
from training.model import Decoder, DecoderConfig


@pytest.fixture
def wide() -> Decoder:
    """A decoder whose matrices are too large to stay inside a graph."""
    config = DecoderConfig(40, (6, 5), embedding_dim=6, d_model=32, n_layers=1, n_heads=1, n_kv_heads=1)
    return Decoder(config).eval()


def test_weights_are_written_once_and_graphs_answer_as_from_memory(wide: Decoder, tmp_path: Path) -> None:
    weights = weights_of(wide)
    writer = GraphWriter(tmp_path, "weights.bin")
    paths = {k: writer.write(build_graph(wide.config, weights, k), f"k{k}.onnx") for k in (2, 7)}
    parameters = sum(array.nbytes for array in weights.values())
    assert 0.8 * parameters < (tmp_path / "weights.bin").stat().st_size <= parameters
    rng = np.random.default_rng(0)
    table = SidTable.from_item_codes(rng.integers(0, 5, (20, 2)), (6, 5))
    prompts = Prompts(
        rng.integers(0, 40, (3, 4)), np.ones((3, 4), bool), rng.normal(size=(3, 6)).astype(np.float32)
    )
    for beam_width, path in paths.items():
        whole = onnx.load(path)  # with the weights inside
        answers = GraphSession(path, beam_width, 1).search(prompts, Trie.from_table(table))
        expected = GraphSession(whole.SerializeToString(), beam_width, 1).search(
            prompts, Trie.from_table(table)
        )
        np.testing.assert_array_equal(answers.leaves, expected.leaves)
        np.testing.assert_array_equal(answers.log_probs, expected.log_probs)


def test_a_graph_of_another_decoder_is_refused(wide: Decoder, tmp_path: Path) -> None:
    writer = GraphWriter(tmp_path, "weights.bin")
    writer.write(build_graph(wide.config, weights_of(wide), 2), "first.onnx")
    deeper = DecoderConfig(40, (6, 5), embedding_dim=6, d_model=32, n_layers=2, n_heads=1, n_kv_heads=1)
    with pytest.raises(ExportError, match=r"has a weight layers\.1\."):
        writer.write(build_graph(deeper, weights_of(Decoder(deeper)), 2), "second.onnx")
