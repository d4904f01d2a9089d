"""The parts of a decoder layer as ONNX nodes: linear, norm, rotary positions, feed-forward.

The same computations as in ``training/model.py``. How positions look at one another is in
``graph_attention.py`` and ``graph_fused_attention.py``.

Sizes in shapes: B queries, S positions, D the size of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from model_export.graph_builder import GraphBuilder
from training.model import DecoderConfig

UNSEEN = -1e30
UNSEEN_HALF = -3e4  # float16 ends at 65,504
INT8_LEVELS = 127  # on each side of 0
INT8_ZERO = np.uint8(128)  # of inputs, which are unsigned: x86 multiplies unsigned by signed bytes fastest


class Angles(NamedTuple):
    """Cosines and sines of the rotary angles, each [B, S, D/2]."""

    cosines: ir.Value
    sines: ir.Value

    def last(self, g: GraphBuilder) -> "Angles":
        """Those of the last position."""
        return Angles(g.last(self.cosines, 1), g.last(self.sines, 1))


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

    def activation(self, value: float) -> ir.Value:
        """A constant among the activations."""
        return self.g.float16(value) if self.half else self.g.float32(value)

    @property
    def unseen(self) -> float:
        """Added to the score of a column that may not be looked at; finite, as −inf − (−inf) is no number."""
        return UNSEEN_HALF if self.half else UNSEEN

    def bias(self, seen: ir.Value) -> ir.Value:
        """0 where a column may be looked at, else so low that it weighs nothing."""
        return self.g.Where(seen, self.activation(0.0), self.activation(self.unseen))

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

    def add_and_norm(self, x: ir.Value, addend: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
        """The sum of two [B, S, d_model], and its RMSNorm; one node where that saves a kernel."""
        if self.half:
            weight = self._weight(name, self.weights[f"{name}.weight"])
            return self.g.add_and_norm(x, addend, weight, self.config.rms_eps)
        total = self.g.Add(x, addend)
        return total, self.norm(total, name)

    def beam_heads(self, x: ir.Value, projection: str) -> ir.Value:
        """[B, K, d_model] → [B, K · heads, 1, D]: the beams of a query share one position, as heads do."""
        return self.g.reshape(self.linear(x, projection), 0, -1, 1, self.config.head_dim)

    def queries(self, heads: ir.Value, layer: int) -> ir.Value:
        """Norm heads [..., D] of queries; the 1/√D of attention goes into the norm's weight."""
        return self.norm(heads, f"layers.{layer}.self_attn.q_norm", self.config.head_dim**-0.5)

    def keys(self, heads: ir.Value, layer: int) -> ir.Value:
        """Norm heads [..., D] of keys."""
        return self.norm(heads, f"layers.{layer}.self_attn.k_norm")

    def turn(self, heads: ir.Value, angles: Angles, **n_heads: int) -> ir.Value:
        """Turn heads [B, heads, S, D], or [B, S, heads · D] with their ``num_heads``, by their positions."""
        return self.g.RotaryEmbedding(heads, angles.cosines, angles.sines, **n_heads)

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
        gate = g.contrib("QuickGelu", self.linear(x, f"{mlp}.gate_proj"), alpha=1.0)  # that is SiLU
        up = self.linear(x, f"{mlp}.up_proj")
        return self.linear(g.Mul(gate, up), f"{mlp}.down_proj")

    def _weight(self, name: str, array: NDArray[np.float32]) -> ir.Value:
        return self.g.weight(f"{name}.weight", array.astype(np.float16) if self.half else array)
