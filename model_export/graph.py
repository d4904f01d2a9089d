"""The graph that answers queries: read the prompt; per level predict, walk the trie, keep K beams."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from model_export.graph_attention import PartedAttention
from model_export.graph_blocks import Blocks
from model_export.graph_builder import GraphBuilder, Output
from model_export.graph_captured import CapturedTrieSearch
from model_export.graph_decoder import DecoderGraph
from model_export.graph_fused_attention import FusedAttention
from model_export.graph_search import TrieSearch
from training.model import DecoderConfig


def build_graph(
    config: DecoderConfig,
    weights: Mapping[str, NDArray[np.float32]],
    beam_width: int,
    input_ranges: Mapping[str, float] = MappingProxyType({}),
    runners_up: int = 0,
    for_gpu: bool = False,
) -> ir.Model:
    """Write a decoder and its beam search as one ONNX model.

    Batch size B, prompt length T, the trie and the filters are free at run time; K and L are fixed.

    Inputs:
        tokens int64 [B, T], left-padded; mask bool [B, T], false on padding;
        query_embedding float32 [B, embedding_dim], by the embedder of the items, zeros where that knows no
        texts;
        trie_indptr, trie_codes, first_leaf, slots_1, slots_2, … int32, see ``sid.Trie.graph_inputs``;
        alive bool [F · n_nodes]: filters behind one another, see ``sid.Trie.alive``; filter_start int32 [B]:
        where the one of each query begins; so filters hold fewer than 2^31 nodes in all.

    Outputs, best first, equal log-probabilities by leaf:
        sids int32 [B, K, L], −1 where fewer than K SIDs exist; leaves int32 [B, K], −1 there;
        log_probs float32 [B, K], −1e30 there; query_vector float32 [B, vector_dim], unit length.

    With R > 0 runners-up, what decided each level l comes out, too: level_l_nodes int32 [B, K + R], the best
    prefixes as nodes of the trie, of which the first K went on, and level_l_log_probs float32 [B, K + R]; −1
    and −1e30 where there are fewer.

    Args:
        config: shape of the decoder.
        weights: its parameters by the names of the checkpoint, float32.
        beam_width: K.
        input_ranges: linear layers to compute in int8, with their largest absolute inputs, see
            ``model_export.calibration``.
        runners_up: R.
        for_gpu: activations in float16, scores still in float32, and sizes that CUDA graphs can capture; with
            further inputs chunks_0, chunks_1, …, see ``sid.Trie.chunk_budget``.
    """
    g = GraphBuilder()
    tokens = g.input("tokens", ir.DataType.INT64, ["B", "T"])
    mask = g.input("mask", ir.DataType.BOOL, ["B", "T"])
    embeddings = g.input("query_embedding", ir.DataType.FLOAT, ["B", config.embedding_dim])
    search = (
        CapturedTrieSearch.of_codebooks(g, config.codebook_sizes, beam_width, runners_up)
        if for_gpu
        else TrieSearch.with_inputs(g, config.levels, beam_width, runners_up)
    )
    blocks = Blocks(g, config, weights, input_ranges, half=for_gpu)
    decoder = DecoderGraph(blocks, FusedAttention(blocks, beam_width) if for_gpu else PartedAttention(blocks))

    prompt = decoder.read_prompt(tokens, mask, embeddings)
    hidden, codes_read = prompt.hidden, None
    beams = search.root()
    explanation: dict[str, Output] = {}
    for level in range(config.levels):
        is_last = level == config.levels - 1
        children = search.children(beams, decoder.code_log_probs(hidden, level), level)
        choice = search.best(children, beams, level, in_trie_order=not is_last)
        beams = choice.beams
        if runners_up:
            n = beam_width + runners_up
            explanation |= {
                f"level_{level}_nodes": Output(choice.ranked_nodes, ir.DataType.INT32, ["B", n]),
                f"level_{level}_log_probs": Output(choice.ranked_log_probs, ir.DataType.FLOAT, ["B", n]),
            }
        if not is_last:
            if codes_read:
                codes_read = decoder.follow_parents(codes_read, choice.parents, level - 1)
            hidden, codes_read = decoder.read_codes(choice.codes, level, prompt, codes_read)
    sids, log_probs, leaves = search.answer(beams)
    k = beam_width
    return g.model(
        "radsearch",
        {
            "sids": Output(sids, ir.DataType.INT32, ["B", k, config.levels]),
            "log_probs": Output(log_probs, ir.DataType.FLOAT, ["B", k]),
            "leaves": Output(leaves, ir.DataType.INT32, ["B", k]),
            "query_vector": Output(decoder.query_vector(prompt), ir.DataType.FLOAT, ["B", config.vector_dim]),
            **explanation,
        },
    )
