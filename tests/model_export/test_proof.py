"""The proof accepts what is right and refuses every way of being wrong that we could think of."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from model_export.errors import ExportError
from model_export.graph import build_graph
from model_export.graph_blocks import Blocks
from model_export.graph_decoder import DecoderGraph
from model_export.graph_search import TrieSearch
from model_export.proof import TOLERANCE, Proof, prove, weights_of
from model_export.session import GraphSession, Prompts
from sid import SidTable
from training.model import Decoder

Weights = dict[str, NDArray[np.float32]]

CODEBOOKS = (6, 4, 5)
BEAM_WIDTH = 8


@pytest.fixture
def decoder(decoders: dict[tuple[int, ...], Decoder]) -> Decoder:
    return decoders[CODEBOOKS]


@pytest.fixture
def prove_weights(decoder: Decoder) -> Callable[[Weights], Proof]:
    """Build a graph from weights and prove it against the decoder."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, size, 60) for size in CODEBOOKS], axis=1)
    table = SidTable.from_item_codes(codes, CODEBOOKS)
    lengths = rng.integers(0, 7, 8)
    mask = np.arange(8) >= 6 - lengths[:, None]
    tokens = np.where(mask, rng.integers(4, 40, mask.shape), 0)
    tokens[:, -1] = 2
    prompts = Prompts(tokens, mask, rng.standard_normal((8, 6)).astype(np.float32))

    def run(weights: Weights) -> Proof:
        model = build_graph(decoder.config, weights, BEAM_WIDTH)
        session = GraphSession(ir.to_proto(model).SerializeToString(), BEAM_WIDTH)
        return prove(session, decoder, table, prompts)

    return run


def test_a_right_graph_passes_with_figures(
    decoder: Decoder, prove_weights: Callable[[Weights], Proof]
) -> None:
    proof = prove_weights(weights_of(decoder))
    figures = proof.to_dict()
    assert all(0 <= value <= TOLERANCE for name, value in figures.items() if "_against_" in name)
    assert (proof.n_queries, proof.n_reference_queries, proof.n_brute_force_sids) == (8, 4, BEAM_WIDTH)
    assert proof.n_unsearched < proof.n_reference_queries


@pytest.mark.parametrize(
    "name",
    [
        "embed_tokens.weight",
        "code_embeddings.0.weight",
        "code_embeddings.1.weight",
        "code_embeddings.2.weight",
        "layers.0.input_layernorm.weight",
        "layers.0.self_attn.q_proj.weight",
        "layers.1.self_attn.k_norm.weight",
        "layers.1.self_attn.o_proj.weight",
        "layers.1.mlp.down_proj.weight",
        "norm.weight",
        "query_projection.weight",
        "query_head.weight",
        "item_head.weight",
    ],
)
def test_a_tampered_weight_fails(
    decoder: Decoder, prove_weights: Callable[[Weights], Proof], name: str
) -> None:
    weights = weights_of(decoder)
    changed = weights[name].copy()
    changed[-1] *= 1.5
    changed[0] *= 0.5
    with pytest.raises(ExportError, match="beam width 8 failed its proof"):
        prove_weights(weights | {name: changed})


def test_a_weight_that_is_no_number_fails(
    decoder: Decoder, prove_weights: Callable[[Weights], Proof]
) -> None:
    weights = weights_of(decoder)
    broken = np.full_like(weights["norm.weight"], np.nan)
    with pytest.raises(ExportError, match="nothing was written"):
        prove_weights(weights | {"norm.weight": broken})


def keep_suffixes(self: DecoderGraph, layers: Any, parents: ir.Value, level: int) -> Any:
    return layers


def ignore_filters(self: TrieSearch, *args: Any) -> Any:
    everything = self.g.Or(self.alive, self.g.Not(self.alive))
    return CHILDREN(replace(self, alive=everything), *args)


def drop_prefix(self: TrieSearch, children: Any, beams: Any, level: int, in_trie_order: bool) -> Any:
    """Look at half of the children only."""
    dead = self.g.Where(
        self.g.Less(children.codes, self.g.int32(2)), children.log_probs, self.g.float32(-1e30)
    )
    return BEST(self, replace(children, log_probs=dead), beams, level, in_trie_order)


def stand_still(self: Blocks, positions: ir.Value) -> Any:
    return ANGLES(self, self.g.Mul(positions, self.g.int64(0)))


CHILDREN, BEST, ANGLES = TrieSearch.children, TrieSearch.best, Blocks.angles


@pytest.mark.parametrize(
    ("owner", "method", "mistake"),
    [
        (DecoderGraph, "follow_parents", keep_suffixes),
        (TrieSearch, "children", ignore_filters),
        (TrieSearch, "best", drop_prefix),
        (Blocks, "angles", stand_still),
    ],
)
def test_a_mistake_in_the_graph_fails(
    monkeypatch: pytest.MonkeyPatch,
    decoder: Decoder,
    prove_weights: Callable[[Weights], Proof],
    owner: type,
    method: str,
    mistake: Callable[..., Any],
) -> None:
    monkeypatch.setattr(owner, method, mistake)
    with pytest.raises(ExportError):
        prove_weights(weights_of(decoder))


def test_a_large_decoder_is_judged_by_samples(
    decoder: Decoder, prove_weights: Callable[[Weights], Proof], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_export.proof.MULTIPLICATIONS", 1.0)
    proof = prove_weights(weights_of(decoder))
    assert (proof.n_queries, proof.n_reference_queries, proof.n_unsearched) == (1, 1, 1)
    assert proof.n_brute_force_sids == 8
    with pytest.raises(ExportError, match="failed its proof"):
        prove_weights({name: array * np.float32(1.01) for name, array in weights_of(decoder).items()})
