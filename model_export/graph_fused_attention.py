"""How positions look at one another, as ONNX nodes for GPUs: one node a layer and step.

To begin a kernel takes longer than most kernels of a small decoder, so few nodes count more there than few
multiplications. The columns of all beams of a query stand behind its prompt's, once per query, and never
move: a beam looks at all of them, and what is added to its scores leaves the prompt and the codes that it
descends from. Nothing is copied per beam, neither the prompt's columns nor the codes'.

Nothing comes from the host either: onnxruntime's CUDA kernels take sizes by value, but for concatenations of
unlike arrays and products that broadcast over batches, of which there are none here.

Sizes in shapes: B queries, T prompt columns, S of them or 1, K beams, C = T + K · l columns of a prompt and
of l levels of codes, N key-value heads, D the size of a head.
"""

from dataclasses import dataclass
from functools import reduce

import onnx_ir as ir

from model_export.graph_attention import CodesRead, KeysValues
from model_export.graph_blocks import Angles, Blocks


@dataclass(frozen=True)
class FusedAttention:
    """As :class:`model_export.graph_attention.Attention` says; keys and values are [B, N, C, D].

    Attributes:
        blocks: the parts of layers.
        beam_width: K.
    """

    blocks: Blocks
    beam_width: int

    def bias(self, seen: ir.Value) -> ir.Value:
        """[B, 1, T, T]."""
        return self.blocks.bias(self.blocks.g.unsqueeze(seen, 1))

    def in_prompt(
        self, x: ir.Value, layer: int, angles: Angles, bias: ir.Value, only_last: bool
    ) -> tuple[ir.Value, KeysValues]:
        """Keys and values come out of the node that reads them."""
        g, blocks, config = self.blocks.g, self.blocks, self.blocks.config
        attention = f"layers.{layer}.self_attn"
        keys = blocks.keys(self._prompt_heads(x, f"{attention}.k_proj"), layer)
        keys = blocks.turn(g.reshape(keys, 0, 0, -1), angles, num_heads=config.n_kv_heads)
        values = blocks.linear(x, f"{attention}.v_proj")
        if only_last:
            x, angles = g.last(x, 1), angles.last(g)
        queries = blocks.queries(self._prompt_heads(x, f"{attention}.q_proj"), layer)
        queries = blocks.turn(g.reshape(queries, 0, 0, -1), angles, num_heads=config.n_heads)
        return self._attend(layer, queries, keys, values, bias)

    def columns(
        self, codes: ir.Value, prompt_bias: ir.Value, earlier: CodesRead | None
    ) -> tuple[ir.Value, tuple[ir.Value, ...]]:
        """What is added is [B, 1, K, C]. A level's columns are numbered from 1 on, after those before it."""
        g, blocks, n_levels = self.blocks.g, self.blocks, len(earlier.columns) + 1 if earlier else 1

        def widened(x: ir.Value, filling: float) -> ir.Value:
            """[B, 1, 1, T] → [B, 1, 1, C]."""
            pads = g.int64([0] * 7 + [self.beam_width * n_levels])
            return g.Pad(x, pads, blocks.activation(filling))

        # Made of inputs, so that no size has to come from the host.
        ones = g.Add(g.Mul(codes, g.int32(0)), g.int32(1))
        own = g.Add(g.CumSum(ones, g.int64(1)), g.int32(self.beam_width * (n_levels - 1)))
        columns = (*(earlier.columns if earlier else ()), own)
        after_prompt = widened(g.Mul(prompt_bias, blocks.activation(0.0)), 1.0)
        numbers = g.CumSum(g.Cast(after_prompt, to=ir.DataType.INT32), g.int64(3))
        descends = [g.Equal(numbers, g.unsqueeze(column, 1, 3)) for column in columns]
        bias = g.Where(reduce(g.Or, descends), blocks.activation(0.0), widened(prompt_bias, blocks.unseen))
        return bias, columns

    def from_beams(
        self,
        x: ir.Value,
        layer: int,
        angles: Angles,
        bias: ir.Value,
        prompt: KeysValues,
        earlier: KeysValues | None,
        level: int,
    ) -> tuple[ir.Value, KeysValues]:
        """Keys and values of earlier codes have the prompt's before them."""
        del level
        g, blocks, attention = self.blocks.g, self.blocks, f"layers.{layer}.self_attn"
        n_heads, n_kv_heads = blocks.config.n_heads, blocks.config.n_kv_heads

        def turned(normed: ir.Value, heads: int) -> ir.Value:
            return g.reshape(blocks.turn(normed, angles), 0, -1, heads * blocks.config.head_dim)

        keys = turned(blocks.keys(blocks.beam_heads(x, f"{attention}.k_proj"), layer), n_kv_heads)
        queries = turned(blocks.queries(blocks.beam_heads(x, f"{attention}.q_proj"), layer), n_heads)
        values = blocks.linear(x, f"{attention}.v_proj")
        return self._attend(layer, queries, keys, values, bias, *(earlier or prompt))

    def follow_parents(self, read: CodesRead, parents: ir.Value, level: int) -> CodesRead:
        """Columns stay; a beam remembers which it descends from."""
        del level
        g = self.blocks.g
        columns = tuple(g.Gather(g.reshape(column, -1), parents, axis=0) for column in read.columns)
        return CodesRead(read.layers, columns)

    def _attend(
        self, layer: int, queries: ir.Value, keys: ir.Value, values: ir.Value, bias: ir.Value, *past: ir.Value
    ) -> tuple[ir.Value, KeysValues]:
        """[B, S, heads · D] look at ``past`` and at [B, ·, N · D]."""
        config = self.blocks.config
        mixed, *columns = self.blocks.g.attention(
            queries, keys, values, bias, *past, q_num_heads=config.n_heads, kv_num_heads=config.n_kv_heads
        )
        return self.blocks.linear(mixed, f"layers.{layer}.self_attn.o_proj"), KeysValues(*columns)

    def _prompt_heads(self, x: ir.Value, projection: str) -> ir.Value:
        """[B, S, d_model] → [B, S, heads, D]."""
        return self.blocks.g.reshape(self.blocks.linear(x, projection), 0, 0, -1, self.blocks.config.head_dim)
