"""The parts of a decoder layer as ONNX nodes: linear, norm, rotary positions, feed-forward, attention.

The same computations as in ``training/model.py``, but prompt and beams attend in two ways: the prompt's keys
and values exist once per query, and all its beams look at them in one matrix product.

Sizes in shapes: B queries, T prompt columns, S of them or 1, K beams, l codes written so far, N key-value
heads, G query heads for each of them, D the size of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from model_export.graph_builder import GraphBuilder
from training.model import DecoderConfig

# Added to the score of a column that may not be looked at; finite, as −inf − (−inf) is no number.
UNSEEN = -1e30
UNSEEN_HALF = -3e4  # float16 ends at 65,504
INT8_LEVELS = 127  # on each side of 0
INT8_ZERO = np.uint8(128)  # of inputs, which are unsigned: x86 multiplies unsigned by signed bytes fastest
SLICE_END = 2**31 - 1


class Angles(NamedTuple):
    """Cosines and sines of the rotary angles, each [B, S, D/2]."""

    cosines: ir.Value
    sines: ir.Value


class KeysValues(NamedTuple):
    """What one layer keeps of earlier positions.

    Of a prompt: keys [B, N, 1, D, T], values [B, N, 1, T, D].
    Of beams: keys [B, K, N, D, l], values [B, K, N, l, D].
    """

    keys: ir.Value
    values: ir.Value


@dataclass(frozen=True)
class Blocks:
    """Adds the parts of decoder layers to a graph; ``layer`` says whose weights are used.

    Attributes:
        g: the graph that is being built.
        config: shape of the decoder.
        weights: float32, by the names of the checkpoint.
        input_ranges: largest absolute inputs of the linear layers that compute in int8, by name.
        half: whether all others, and what lies between them, compute in float16 instead of float32.
    """

    g: GraphBuilder
    config: DecoderConfig
    weights: Mapping[str, NDArray[np.float32]]
    input_ranges: Mapping[str, float]
    half: bool
    _rounded: dict[tuple[ir.Value, float], ir.Value] = field(default_factory=dict)

    def embed(self, table: str, rows: ir.Value) -> ir.Value:
        """Rows of an embedding table: int [...] → [..., d_model]."""
        return self.g.Gather(self.table(table), rows, axis=0)

    def table(self, name: str) -> ir.Value:
        """An embedding table, [rows, d_model]."""
        return self._weight(name, self.weights[f"{name}.weight"])

    def activations(self, x: ir.Value) -> ir.Value:
        """Take float32 values among the activations."""
        return self.g.Cast(x, to=ir.DataType.FLOAT16) if self.half else x

    def scores(self, x: ir.Value) -> ir.Value:
        """Take activations among the scores and vectors, which are float32 in any case."""
        return self.g.Cast(x, to=ir.DataType.FLOAT) if self.half else x

    def bias(self, seen: ir.Value) -> ir.Value:
        """0 where a column may be looked at, else so low that it weighs nothing."""
        g = self.g
        if self.half:
            return g.Where(seen, g.float16(0.0), g.float16(UNSEEN_HALF))
        return g.Where(seen, g.float32(0.0), g.float32(UNSEEN))

    def linear(self, x: ir.Value, name: str) -> ir.Value:
        """[..., in] → [..., out]; torch keeps the weight as [out, in]."""
        if name in self.input_ranges:
            return self._int8_linear(x, name)
        return self.g.MatMul(x, self._weight(name, self.weights[f"{name}.weight"].T))

    def _int8_linear(self, x: ir.Value, name: str) -> ir.Value:
        """The same with both sides in int8, a scale per output of the weight and one for all inputs.

        The input's scale is fixed, not that of the batch: an answer must not depend on its neighbours.
        """
        g, weight = self.g, self.weights[f"{name}.weight"]
        steps = np.maximum(np.abs(weight).max(axis=1), np.finfo(np.float32).tiny) / np.float32(INT8_LEVELS)
        rounded = np.rint(weight / steps[:, None]).astype(np.int8)
        step = self.input_ranges[name] / INT8_LEVELS
        zero = g.weight("int8.zero", np.asarray(INT8_ZERO))
        if (x, step) not in self._rounded:
            self._rounded[x, step] = g.QuantizeLinear(x, g.float32(step), zero)
        return g.contrib(
            "MatMulIntegerToFloat",
            self._rounded[x, step],
            g.weight(f"{name}.int8", rounded.T),
            g.float32(step),
            g.weight(f"{name}.steps", steps),
            zero,
        )

    def norm(self, x: ir.Value, name: str, scale: float = 1.0) -> ir.Value:
        """RMSNorm over the last axis, times a scale that goes into its weight."""
        weight = self._weight(name, self.weights[f"{name}.weight"] * np.float32(scale))
        return self.g.RMSNormalization(x, weight, axis=-1, epsilon=self.config.rms_eps)

    def angles(self, positions: ir.Value) -> Angles:
        """Rotary angles of positions int64 [B, S]."""
        g, dim = self.g, self.config.head_dim
        exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
        frequencies = g.weight("rotary.frequencies", np.float32(self.config.rope_theta) ** -exponents)
        angles = g.Mul(g.unsqueeze(g.Cast(positions, to=ir.DataType.FLOAT), 2), frequencies)
        return Angles(self.activations(g.Cos(angles)), self.activations(g.Sin(angles)))

    def feed_forward(self, x: ir.Value, layer: int) -> ir.Value:
        """SwiGLU: [..., d_model] → [..., d_model]."""
        g, mlp = self.g, f"layers.{layer}.mlp"
        gate = self.linear(x, f"{mlp}.gate_proj")
        up = self.linear(x, f"{mlp}.up_proj")
        return self.linear(g.Mul(g.Mul(gate, g.Sigmoid(gate)), up), f"{mlp}.down_proj")

    def prompt_keys_values(self, x: ir.Value, layer: int, angles: Angles) -> KeysValues:
        """Keys and values of a prompt: x [B, T, d_model]."""
        g, attention = self.g, f"layers.{layer}.self_attn"
        keys = self._turned_keys(self._prompt_heads(x, f"{attention}.k_proj"), layer, angles)
        values = self._prompt_heads(x, f"{attention}.v_proj")
        return KeysValues(g.unsqueeze(g.Transpose(keys, perm=(0, 1, 3, 2)), 2), g.unsqueeze(values, 2))

    def attend_in_prompt(
        self, x: ir.Value, layer: int, angles: Angles, bias: ir.Value, prompt: KeysValues
    ) -> ir.Value:
        """The prompt looks at itself: x [B, S, d_model], bias [B, 1, 1, S, T] → [B, S, d_model]."""
        g, config = self.g, self.config
        queries = self._turned_queries(
            self._prompt_heads(x, f"layers.{layer}.self_attn.q_proj"), layer, angles
        )
        if self.half:
            # One node where the GPU has a kernel for it; it wants keys as rows and puts 1/√D on by default.
            keys = g.Transpose(g.Squeeze(prompt.keys, g.int64([2])), perm=(0, 1, 3, 2))
            values, seen = (g.Squeeze(x, g.int64([2])) for x in (prompt.values, bias))
            mixed = g.Attention(queries, keys, values, seen, scale=1.0)
            return self._output(g.Transpose(mixed, perm=(0, 2, 1, 3)), layer)
        queries = g.reshape(queries, 0, config.n_kv_heads, self._groups, -1, config.head_dim)
        scores = g.Add(g.MatMul(queries, prompt.keys), bias)
        mixed = g.MatMul(g.Softmax(scores, axis=-1), prompt.values)
        return self._output(g.Transpose(mixed, perm=(0, 3, 1, 2, 4)), layer)

    def beam_keys_values(self, x: ir.Value, layer: int, angles: Angles) -> KeysValues:
        """Keys and values of the newest code of every beam: x [B, K, d_model]; l is 1."""
        g, config, attention = self.g, self.config, f"layers.{layer}.self_attn"
        keys = self._turned_keys(self._beam_heads(x, f"{attention}.k_proj"), layer, angles)
        values = self.linear(x, f"{attention}.v_proj")
        n_heads, dim = config.n_kv_heads, config.head_dim
        return KeysValues(g.reshape(keys, 0, -1, n_heads, dim, 1), g.reshape(values, 0, -1, n_heads, 1, dim))

    def attend_from_beams(
        self,
        x: ir.Value,
        layer: int,
        angles: Angles,
        bias: ir.Value,
        prompt: KeysValues,
        codes: KeysValues,
        n_codes: int,
    ) -> ir.Value:
        """Every beam looks at its query's prompt and at its own codes: x [B, K, d_model] → [B, K, d_model].

        Args:
            x: normed states.
            layer: whose weights are used.
            angles: of the newest code.
            bias: of the prompt's columns, [B, 1, 1, 1, T].
            prompt: keys and values shared by the beams of a query.
            codes: keys and values of each beam's own codes.
            n_codes: l, how many these are.
        """
        g, config = self.g, self.config
        queries = self._turned_queries(self._beam_heads(x, f"layers.{layer}.self_attn.q_proj"), layer, angles)
        queries = g.reshape(queries, 0, -1, config.n_kv_heads, self._groups, config.head_dim)
        to_prompt = g.Add(g.MatMul(self._beams_inside(queries), prompt.keys), bias)
        to_codes = self._beams_inside(g.MatMul(queries, codes.keys))
        shares = g.Softmax(g.Concat(to_prompt, to_codes, axis=-1), axis=-1)
        of_prompt = g.Slice(shares, g.int64([0]), g.int64([-n_codes]), g.int64([-1]))
        of_codes = g.Slice(shares, g.int64([-n_codes]), g.int64([SLICE_END]), g.int64([-1]))
        from_prompt = self._beams_outside(g.MatMul(of_prompt, prompt.values))
        from_codes = g.MatMul(self._beams_outside(of_codes), codes.values)
        return self._output(g.Add(from_prompt, from_codes), layer)

    def _weight(self, name: str, array: NDArray[np.float32]) -> ir.Value:
        return self.g.weight(f"{name}.weight", array.astype(np.float16) if self.half else array)

    @property
    def _groups(self) -> int:
        return self.config.n_heads // self.config.n_kv_heads

    def _beams_inside(self, x: ir.Value) -> ir.Value:
        """[B, K, N, G, ·] → [B, N, G, K, ·]: the beams of a query become the rows of one matrix."""
        return self.g.Transpose(x, perm=(0, 2, 3, 1, 4))

    def _beams_outside(self, x: ir.Value) -> ir.Value:
        """[B, N, G, K, ·] → [B, K, N, G, ·]; also for the columns of a prompt in the place of beams."""
        return self.g.Transpose(x, perm=(0, 3, 1, 2, 4))

    def _prompt_heads(self, x: ir.Value, projection: str) -> ir.Value:
        """[B, S, d_model] → [B, heads, S, D]."""
        heads = self.g.reshape(self.linear(x, projection), 0, 0, -1, self.config.head_dim)
        return self.g.Transpose(heads, perm=(0, 2, 1, 3))

    def _beam_heads(self, x: ir.Value, projection: str) -> ir.Value:
        """[B, K, d_model] → [B, K · heads, 1, D]: the beams of a query share one position, as heads do."""
        return self.g.reshape(self.linear(x, projection), 0, -1, 1, self.config.head_dim)

    def _turned_queries(self, heads: ir.Value, layer: int, angles: Angles) -> ir.Value:
        """Norm and turn [B, heads, S, D]; the 1/√D of attention goes into the norm's weight."""
        normed = self.norm(heads, f"layers.{layer}.self_attn.q_norm", self.config.head_dim**-0.5)
        return self.g.RotaryEmbedding(normed, angles.cosines, angles.sines)

    def _turned_keys(self, heads: ir.Value, layer: int, angles: Angles) -> ir.Value:
        normed = self.norm(heads, f"layers.{layer}.self_attn.k_norm")
        return self.g.RotaryEmbedding(normed, angles.cosines, angles.sines)

    def _output(self, mixed: ir.Value, layer: int) -> ir.Value:
        """[B, S, N, G, D] → [B, S, d_model]."""
        return self.linear(self.g.reshape(mixed, 0, 0, -1), f"layers.{layer}.self_attn.o_proj")
