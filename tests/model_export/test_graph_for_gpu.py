"""The graph for GPUs, on a CPU: near the one in float32, and free of what CUDA graphs cannot capture."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from model_export.graph import build_graph
from model_export.graph_fused_attention import FusedAttention
from model_export.proof import weights_of
from model_export.session import Answers, GraphSession, Prompts
from sid import SidTable, Trie
from training.model import Decoder

CODEBOOKS = (6, 4, 5)
BEAM_WIDTH = 16
# onnxruntime-gpu 1.31 has kernels of them for this opset and the types used here, none of them cuDNN's.
# fmt: off
CUDA_KERNELS = {
    "Add", "And", "Attention", "Cast", "Concat", "Cos", "CumSum", "Div", "Equal", "Gather",
    "GatherElements", "Greater", "Less", "LessOrEqual", "LogSoftmax", "MatMul", "Max", "Min", "Mul",
    "Or", "Pad", "QuickGelu", "RMSNormalization", "Reshape", "RotaryEmbedding",
    "ScatterElements", "Shape", "Sin", "SkipSimplifiedLayerNormalization", "Slice", "Softmax",
    "Squeeze", "Sub", "TopK", "Transpose", "Unsqueeze", "Where",
}
# fmt: on
NO_KERNEL = {"Reshape", "Shape", "Squeeze", "Unsqueeze"}  # the same memory under another shape
NODES_PER_LAYER = 16  # kernels of a pass, which a captured graph runs one by one


def some_trie(codebooks: tuple[int, ...] = CODEBOOKS) -> Trie:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, size, 80) for size in codebooks], axis=1)
    return Trie.from_table(SidTable.from_item_codes(codes, codebooks))


def some_prompts(n: int) -> Prompts:
    """Of several lengths."""
    rng = np.random.default_rng(1)
    mask = np.arange(7) >= rng.integers(0, 5, (n, 1))
    tokens = np.where(mask, rng.integers(4, 40, mask.shape), 0)
    return Prompts(tokens, mask, rng.standard_normal((n, 6), np.float32))


def search(decoder: Decoder, prompts: Prompts, trie: Trie, for_gpu: bool) -> Answers:
    graph = build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, for_gpu=for_gpu)
    return GraphSession(ir.to_proto(graph).SerializeToString(), BEAM_WIDTH, threads=1).search(prompts, trie)


def test_the_best_of_float32_are_found_in_float16(decoders: dict[tuple[int, ...], Decoder]) -> None:
    decoder, trie, prompts = decoders[CODEBOOKS], some_trie(), some_prompts(64)
    exact, half = (search(decoder, prompts, trie, for_gpu) for for_gpu in (False, True))
    np.testing.assert_allclose(half.query_vectors, exact.query_vectors, atol=5e-3)
    close = np.abs(half.log_probs - exact.log_probs) <= 1e-2 * np.maximum(1, np.abs(exact.log_probs))
    assert close.mean() >= 0.99
    common = [len(set(a) & set(b)) for a, b in zip(exact.leaves.tolist(), half.leaves.tolist(), strict=True)]
    assert np.mean(common) >= 0.99 * BEAM_WIDTH


@pytest.mark.parametrize("codebooks", [(9,), (7, 3), CODEBOOKS, (5, 2, 3, 2)])
@pytest.mark.parametrize("beam_width", [1, 7, 40])
def test_attention_of_one_node_is_the_same_attention(
    codebooks: tuple[int, ...],
    beam_width: int,
    decoders: dict[tuple[int, ...], Decoder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float32, where nothing hides in roundings: also of beams that do not exist, and over four levels."""
    decoder, trie, prompts = decoders[codebooks], some_trie(codebooks), some_prompts(9)

    def found() -> Answers:
        graph = build_graph(decoder.config, weights_of(decoder), beam_width)
        return GraphSession(ir.to_proto(graph).SerializeToString(), beam_width, threads=1).search(
            prompts, trie
        )

    parted = found()
    monkeypatch.setattr(
        "model_export.graph.PartedAttention", lambda blocks: FusedAttention(blocks, beam_width)
    )
    fused = found()
    np.testing.assert_array_equal(fused.leaves, parted.leaves)
    np.testing.assert_allclose(fused.log_probs, parted.log_probs, atol=1e-5)
    np.testing.assert_allclose(fused.query_vectors, parted.query_vectors, atol=1e-6)


@pytest.mark.parametrize("codebooks", [(9,), (7, 3), CODEBOOKS])
def test_nothing_is_computed_on_the_host(
    codebooks: tuple[int, ...], decoders: dict[tuple[int, ...], Decoder]
) -> None:
    decoder = decoders[codebooks]
    graph = build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, for_gpu=True).graph
    assert {node.op_type for node in graph} <= CUDA_KERNELS
    # A shape lies on the host. That is where Reshape reads it; anywhere else it would have to be copied.
    for node in graph:
        if node.op_type == "Shape":
            assert {use.node.op_type for use in node.outputs[0].uses()} == {"Reshape"}
            assert {use.idx for use in node.outputs[0].uses()} == {1}


def test_nothing_is_copied_from_the_host(decoders: dict[tuple[int, ...], Decoder]) -> None:
    """Kernels get the pointers and sizes of unlike arrays, and of broadcast products, through host memory."""
    decoder, trie, prompts = decoders[CODEBOOKS], some_trie(), some_prompts(3)
    model = ir.to_proto(build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, for_gpu=True))
    read = [node for node in model.graph.node if node.op_type in ("Concat", "MatMul")]
    assert {node.op_type for node in read} == {"Concat", "MatMul"}
    computed = {name for node in model.graph.node for name in node.output}
    names = sorted({name for node in read for name in node.input} & computed)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = GraphSession(model.SerializeToString(), BEAM_WIDTH, threads=1)
    values = session._session.run(names, session._feeds(prompts, trie, None, None))
    shapes = {name: value.shape for name, value in zip(names, values, strict=True)}
    shapes |= {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    for node in read:
        first, *others = (shapes[name] for name in node.input)
        if node.op_type == "Concat":
            assert all(shape == first for shape in others), node
        else:
            assert len(others[0]) == 2, node


@pytest.mark.parametrize("codebooks", [(7, 3), CODEBOOKS])
def test_a_layer_is_few_nodes(codebooks: tuple[int, ...], decoders: dict[tuple[int, ...], Decoder]) -> None:
    def n_nodes(n_layers: int) -> int:
        config = replace(decoders[codebooks].config, n_layers=n_layers)
        graph = build_graph(config, weights_of(Decoder(config)), BEAM_WIDTH, for_gpu=True).graph
        return sum(node.op_type not in NO_KERNEL for node in graph)

    passes = len(codebooks)  # one over the prompt, one over the codes of each level but the last
    assert n_nodes(3) - n_nodes(2) == NODES_PER_LAYER * passes
