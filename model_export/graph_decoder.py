"""The decoder's passes as ONNX nodes: over the prompt once, over the beams' newest codes once per level.

Sizes in shapes: B queries, T prompt columns, K beams, V codes of a codebook.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from model_export.graph_attention import Attention, CodesRead, KeysValues
from model_export.graph_blocks import Blocks

SMALLEST_NORM = 1e-12  # keeps a vector of zeros what it is, as torch.nn.functional.normalize does


@dataclass(frozen=True)
class Prompt:
    """What beams need of their query's prompt; computed once and shared by all of them.

    Attributes:
        hidden: normed state at [SEP], [B, 1, d_model].
        embeddings: of the queries, among the activations, [B, embedding_dim].
        lengths: tokens that are not padding, int64 [B, 1].
        bias: 0 on tokens, very low on padding, [B, …, 1, T].
        layers: keys and values by layer.
    """

    hidden: ir.Value
    embeddings: ir.Value
    lengths: ir.Value
    bias: ir.Value
    layers: list[KeysValues]


class DecoderGraph:
    """Adds a decoder to a graph.

    Args:
        blocks: the parts of its layers.
        attention: how positions look at one another.
    """

    def __init__(self, blocks: Blocks, attention: Attention) -> None:
        self._g = blocks.g
        self._config = blocks.config
        self._blocks = blocks
        self._attention = attention

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
        causal = self._attention.bias(self._causal(mask, counts))
        of_last = g.last(causal, -2)
        x = self._with_embeddings(blocks.embed("embed_tokens", tokens), embeddings, counts)
        normed = blocks.norm(x, "layers.0.input_layernorm")
        layers = []
        for layer in range(self._config.n_layers):
            # Above the last keys and values only the state at [SEP] is asked for.
            is_last = layer == self._config.n_layers - 1
            bias = of_last if is_last else causal
            attended, keys_values = self._attention.in_prompt(normed, layer, angles, bias, is_last)
            layers.append(keys_values)
            x, normed = self._fed_forward(g.last(x, 1) if is_last else x, attended, layer)
        return Prompt(normed, embeddings, g.last(counts, 1), of_last, layers)

    def read_codes(
        self, codes: ir.Value, level: int, prompt: Prompt, earlier: CodesRead | None
    ) -> tuple[ir.Value, CodesRead]:
        """Run all layers over the newest code of every beam.

        Args:
            codes: int32 [B, K], codes of ``level``.
            level: their level.
            prompt: from :meth:`read_prompt`.
            earlier: the codes of earlier levels, in the order of the beams; None at level 0.

        Returns:
            Normed states [B, K, d_model]; the codes up to ``level``.
        """
        g, blocks = self._g, self._blocks
        angles = blocks.angles(g.Add(prompt.lengths, g.int64(level)))
        bias, columns = self._attention.columns(codes, prompt.bias, earlier)
        x = blocks.embed(f"code_embeddings.{level}", codes)
        normed = blocks.norm(x, "layers.0.input_layernorm")
        layers = []
        for layer in range(self._config.n_layers):
            past = earlier.layers[layer] if earlier else None
            attended, keys_values = self._attention.from_beams(
                normed, layer, angles, bias, prompt.layers[layer], past, level
            )
            layers.append(keys_values)
            x, normed = self._fed_forward(x, attended, layer)
        return normed, CodesRead(layers, columns)

    def follow_parents(self, read: CodesRead, parents: ir.Value, level: int) -> CodesRead:
        """Give every beam what was read by the beam it descends from.

        Args:
            read: the codes up to ``level``.
            parents: int64 [B, K], rows of the flattened [B · K] beams.
            level: of the newest code.
        """
        return self._attention.follow_parents(read, parents, level)

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
        # RMSNorm times 1/√d divides by the length: one node, where ReduceL2 is three and wants cuDNN.
        dim = self._config.vector_dim
        scale = g.weight("unit.weight", np.full(dim, dim**-0.5, dtype=np.float32))
        return g.RMSNormalization(vector, scale, axis=-1, epsilon=SMALLEST_NORM**2 / dim)

    def _fed_forward(self, x: ir.Value, attended: ir.Value, layer: int) -> tuple[ir.Value, ir.Value]:
        """End a layer: states [B, S, d_model], as they are and normed for what comes next."""
        blocks, is_last = self._blocks, layer == self._config.n_layers - 1
        x, normed = blocks.add_and_norm(x, attended, f"layers.{layer}.post_attention_layernorm")
        next_norm = "norm" if is_last else f"layers.{layer + 1}.input_layernorm"
        return blocks.add_and_norm(x, blocks.feed_forward(normed, layer), next_norm)

    def _with_embeddings(self, tokens: ir.Value, embeddings: ir.Value, counts: ir.Value) -> ir.Value:
        """Add each query's embedding, projected, to its last token, [SEP]: [B, T, d_model]."""
        g, blocks = self._g, self._blocks
        # A mask, for arrays of unlike sizes are not concatenated on a GPU without help from the host.
        is_last = g.Cast(g.Equal(counts, g.last(counts, 1)), to=ir.DataType.FLOAT)
        projected = g.unsqueeze(blocks.linear(embeddings, "query_projection"), 1)
        return g.Add(tokens, g.Mul(g.unsqueeze(blocks.activations(is_last), 2), projected))

    def _causal(self, mask: ir.Value, counts: ir.Value) -> ir.Value:
        """Whether a column may look at another, an earlier token or itself: bool [B, T, T].

        Args:
            mask: bool [B, T].
            counts: tokens up to each column, int64 [B, T]; among tokens they rise from column to column.
        """
        g = self._g
        not_later = g.LessOrEqual(g.unsqueeze(counts, 1), g.unsqueeze(counts, 2))
        return g.And(not_later, g.unsqueeze(mask, 1))
