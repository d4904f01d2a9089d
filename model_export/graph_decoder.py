"""The decoder's passes as ONNX nodes: over the prompt once, over the beams' newest codes once per level.

Sizes in shapes: B queries, T prompt columns, K beams, V codes of a codebook.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from model_export.graph_blocks import Angles, Blocks, KeysValues
from model_export.graph_builder import GraphBuilder
from training.model import DecoderConfig

SMALLEST_NORM = 1e-12  # as in torch.nn.functional.normalize

Layers = list[KeysValues]  # one entry per layer


@dataclass(frozen=True)
class Prompt:
    """What beams need of their query's prompt; computed once and shared by all of them.

    Attributes:
        hidden: normed state at [SEP], [B, 1, d_model].
        embeddings: of the queries, among the activations, [B, embedding_dim].
        lengths: tokens that are not padding, int64 [B, 1].
        bias: 0 on tokens, very low on padding, [B, 1, 1, 1, T].
        layers: keys and values.
    """

    hidden: ir.Value
    embeddings: ir.Value
    lengths: ir.Value
    bias: ir.Value
    layers: Layers


class DecoderGraph:
    """Adds a decoder to a graph.

    Args:
        g: the graph that is being built.
        config: shape of the decoder.
        weights: float32, by the names of the checkpoint.
        input_ranges: of the linear layers that compute in int8, see :class:`Blocks`.
        half: whether activations are float16.
    """

    def __init__(
        self,
        g: GraphBuilder,
        config: DecoderConfig,
        weights: Mapping[str, NDArray[np.float32]],
        input_ranges: Mapping[str, float],
        half: bool,
    ) -> None:
        self._g = g
        self._config = config
        self._blocks = Blocks(g, config, weights, input_ranges, half)

    def read_prompt(self, tokens: ir.Value, mask: ir.Value, embeddings: ir.Value) -> Prompt:
        """Run all layers over the prompt.

        Args:
            tokens: int64 [B, T], left-padded, so that [SEP] is the last column.
            mask: bool [B, T], false on padding.
            embeddings: of the queries, float32 [B, embedding_dim].
        """
        g, blocks = self._g, self._blocks
        counts = g.CumSum(g.Cast(mask, to=ir.DataType.INT64), g.int64(1))
        # Padding stands at position −1 and averages over what it may not see: finite, and nobody looks at it.
        angles = blocks.angles(g.Sub(counts, g.int64(1)))
        embeddings = blocks.activations(embeddings)
        bias = self._causal_bias(mask, counts)
        x = self._with_embeddings(blocks.embed("embed_tokens", tokens), embeddings)
        layers: Layers = []
        for layer in range(self._config.n_layers):
            normed = blocks.norm(x, f"layers.{layer}.input_layernorm")
            layers.append(blocks.prompt_keys_values(normed, layer, angles))
            if layer == self._config.n_layers - 1:
                # Above the last keys and values only the state at [SEP] is asked for.
                x, normed, bias = g.last(x, 1), g.last(normed, 1), g.last(bias, 3)
                angles = Angles(g.last(angles.cosines, 1), g.last(angles.sines, 1))
            x = g.Add(x, blocks.attend_in_prompt(normed, layer, angles, bias, layers[-1]))
            normed = blocks.norm(x, f"layers.{layer}.post_attention_layernorm")
            x = g.Add(x, blocks.feed_forward(normed, layer))
        return Prompt(blocks.norm(x, "norm"), embeddings, g.last(counts, 1), bias, layers)

    def read_codes(
        self, codes: ir.Value, level: int, prompt: Prompt, earlier: Layers | None
    ) -> tuple[ir.Value, Layers]:
        """Run all layers over the newest code of every beam.

        Args:
            codes: int32 [B, K], codes of ``level``.
            level: their level.
            prompt: from :meth:`read_prompt`.
            earlier: keys and values of the codes of earlier levels; None at level 0.

        Returns:
            Normed states [B, K, d_model]; keys and values of the codes up to ``level``.
        """
        g, blocks = self._g, self._blocks
        angles = blocks.angles(g.Add(prompt.lengths, g.int64(level)))
        x = blocks.embed(f"code_embeddings.{level}", codes)
        layers: Layers = []
        for layer in range(self._config.n_layers):
            normed = blocks.norm(x, f"layers.{layer}.input_layernorm")
            own = blocks.beam_keys_values(normed, layer, angles)
            layers.append(self._appended(earlier[layer], own) if earlier else own)
            attended = blocks.attend_from_beams(
                normed, layer, angles, prompt.bias, prompt.layers[layer], layers[-1], level + 1
            )
            x = g.Add(x, attended)
            normed = blocks.norm(x, f"layers.{layer}.post_attention_layernorm")
            x = g.Add(x, blocks.feed_forward(normed, layer))
        return blocks.norm(x, "norm"), layers

    def follow_parents(self, layers: Layers, parents: ir.Value, level: int) -> Layers:
        """Give every beam the keys and values of the beam it descends from.

        Args:
            layers: keys and values of the codes up to ``level``.
            parents: int64 [B, K], rows of the flattened [B · K] beams.
            level: of the newest code.
        """
        n_heads, dim, n_codes = self._config.n_kv_heads, self._config.head_dim, level + 1

        def rows(x: ir.Value, *shape: int) -> ir.Value:
            return self._g.Gather(self._g.reshape(x, -1, *shape), parents, axis=0)

        return [
            KeysValues(rows(past.keys, n_heads, dim, n_codes), rows(past.values, n_heads, n_codes, dim))
            for past in layers
        ]

    def code_log_probs(self, hidden: ir.Value, level: int) -> ir.Value:
        """Log-probabilities over the full codebook of a level: [B, n, d_model] → [B, n, V]."""
        g = self._g
        # The head is tied to the embeddings; the runtime transposes them once, when it loads the graph.
        head = g.Transpose(self._blocks.table(f"code_embeddings.{level}"), perm=(1, 0))
        return g.LogSoftmax(self._blocks.scores(g.MatMul(hidden, head)), axis=-1)

    def query_vector(self, prompt: Prompt) -> ir.Value:
        """Unit query vectors, [B, vector_dim]."""
        g, blocks = self._g, self._blocks
        of_state = blocks.linear(g.reshape(prompt.hidden, 0, -1), "query_head")
        vector = blocks.scores(g.Add(of_state, blocks.linear(prompt.embeddings, "item_head")))
        norm = g.ReduceL2(vector, g.int64([-1]), keepdims=1)
        return g.Div(vector, g.Max(norm, g.float32(SMALLEST_NORM)))

    def _with_embeddings(self, tokens: ir.Value, embeddings: ir.Value) -> ir.Value:
        """Add each query's embedding, projected, to its last token, [SEP]: [B, T, d_model]."""
        g = self._g
        before = g.Slice(tokens, g.int64([0]), g.int64([-1]), g.int64([1]))
        projected = g.unsqueeze(self._blocks.linear(embeddings, "query_projection"), 1)
        return g.Concat(before, g.Add(g.last(tokens, 1), projected), axis=1)

    def _appended(self, earlier: KeysValues, own: KeysValues) -> KeysValues:
        g = self._g
        return KeysValues(
            g.Concat(earlier.keys, own.keys, axis=4), g.Concat(earlier.values, own.values, axis=3)
        )

    def _causal_bias(self, mask: ir.Value, counts: ir.Value) -> ir.Value:
        """0 where a column may look at an earlier token or at itself, else very low: [B, 1, 1, T, T].

        Args:
            mask: bool [B, T].
            counts: tokens up to each column, int64 [B, T]; among tokens they rise from column to column.
        """
        g = self._g
        not_later = g.LessOrEqual(g.unsqueeze(counts, 1), g.unsqueeze(counts, 2))
        seen = g.And(g.unsqueeze(not_later, 1, 2), g.unsqueeze(mask, 1, 2, 3))
        return self._blocks.bias(seen)
