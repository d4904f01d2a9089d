"""The graph for GPUs, on a CPU: near the one in float32, and free of what CUDA graphs cannot capture."""

import numpy as np
import onnx_ir as ir
import pytest

from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.session import Answers, GraphSession, Prompts
from sid import SidTable, Trie
from training.model import Decoder

CODEBOOKS = (6, 4, 5)
BEAM_WIDTH = 16
CUDA_KERNELS = {  # onnxruntime has them for the types used here
    *(
        "Add",
        "And",
        "Attention",
        "Cast",
        "Concat",
        "Cos",
        "CumSum",
        "Div",
        "Gather",
        "GatherElements",
        "Greater",
        "Less",
    ),
    *("LessOrEqual", "LogSoftmax", "MatMul", "Max", "Min", "Mul", "RMSNormalization", "ReduceL2", "Reshape"),
    *("RotaryEmbedding", "ScatterElements", "Shape", "Sigmoid", "Sin", "Slice", "Softmax", "Sub", "TopK"),
    *("Squeeze", "Transpose", "Unsqueeze", "Where"),
}


def search(decoder: Decoder, prompts: Prompts, trie: Trie, for_gpu: bool) -> Answers:
    graph = build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, for_gpu=for_gpu)
    return GraphSession(ir.to_proto(graph).SerializeToString(), BEAM_WIDTH, threads=1).search(prompts, trie)


def test_the_best_of_float32_are_found_in_float16(decoders: dict[tuple[int, ...], Decoder]) -> None:
    rng = np.random.default_rng(0)
    decoder = decoders[CODEBOOKS]
    codes = np.stack([rng.integers(0, size, 80) for size in CODEBOOKS], axis=1)
    trie = Trie.from_table(SidTable.from_item_codes(codes, CODEBOOKS))
    mask = np.arange(7) >= rng.integers(0, 5, (64, 1))
    prompts = Prompts(
        np.where(mask, rng.integers(4, 40, mask.shape), 0), mask, rng.standard_normal((64, 6), np.float32)
    )
    exact, half = (search(decoder, prompts, trie, for_gpu) for for_gpu in (False, True))
    np.testing.assert_allclose(half.query_vectors, exact.query_vectors, atol=5e-3)
    close = np.abs(half.log_probs - exact.log_probs) <= 1e-2 * np.maximum(1, np.abs(exact.log_probs))
    assert close.mean() >= 0.99
    common = [len(set(a) & set(b)) for a, b in zip(exact.leaves.tolist(), half.leaves.tolist(), strict=True)]
    assert np.mean(common) >= 0.99 * BEAM_WIDTH


@pytest.mark.parametrize("codebooks", [(9,), (7, 3), CODEBOOKS])
def test_nothing_is_computed_on_the_host(
    codebooks: tuple[int, ...], decoders: dict[tuple[int, ...], Decoder]
) -> None:
    decoder = decoders[codebooks]
    graph = build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, for_gpu=True).graph
    assert {node.op_type for node in graph} <= CUDA_KERNELS
    assert [node.op_type for node in graph].count("Attention") == decoder.config.n_layers
    # A shape lies on the host. That is where Reshape reads it; anywhere else it would have to be copied.
    for node in graph:
        if node.op_type == "Shape":
            assert {use.node.op_type for use in node.outputs[0].uses()} == {"Reshape"}
            assert {use.idx for use in node.outputs[0].uses()} == {1}
