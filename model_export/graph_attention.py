"""How positions look at one another, as ONNX nodes for CPUs: matrix products over keys where they lie.

The prompt's keys and values exist once per query, and all its beams look at them in one matrix product; the
keys and values of a beam's own codes move with the beam.

Sizes in shapes: B queries, T prompt columns, S of them or 1, K beams, l codes written so far, N key-value
heads, G query heads for each of them, D the size of a head.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import onnx_ir as ir

from model_export.graph_blocks import Angles, Blocks

SLICE_END = 2**31 - 1


class KeysValues(NamedTuple):
    """What one layer keeps of earlier positions; the shapes are its attention's own."""

    keys: ir.Value
    values: ir.Value


@dataclass(frozen=True)
class CodesRead:
    """What is kept of the codes that beams have written.

    Attributes:
        layers: keys and values.
        columns: by level, which of the level's columns each beam descends from, int32 [B, K]; none where keys
            and values move with their beams.
    """

    layers: list[KeysValues]
    columns: tuple[ir.Value, ...]


class Attention(Protocol):
    """Adds the attention of layers to a graph; ``layer`` says whose weights are used."""

    def bias(self, seen: ir.Value) -> ir.Value:
        """What is added to the prompt's scores, [B, …, T, T], by who sees whom, bool [B, T, T]."""

    def in_prompt(
        self, x: ir.Value, layer: int, angles: Angles, bias: ir.Value, only_last: bool
    ) -> tuple[ir.Value, KeysValues]:
        """The prompt looks at itself.

        Args:
            x: normed states, [B, T, d_model].
            layer: whose weights are used.
            angles: of all columns.
            bias: of the columns that look, [B, …, S, T].
            only_last: whether only the last column looks; S is 1 then, else T.

        Returns:
            [B, S, d_model]; keys and values of all columns.
        """

    def columns(
        self, codes: ir.Value, prompt_bias: ir.Value, earlier: CodesRead | None
    ) -> tuple[ir.Value, tuple[ir.Value, ...]]:
        """Say what beams may look at.

        Args:
            codes: the newest, int32 [B, K].
            prompt_bias: of the prompt's columns, [B, …, 1, T].
            earlier: the codes of earlier levels; None at level 0.

        Returns:
            What is added to their scores; the columns of :class:`CodesRead`.
        """

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
        """Every beam looks at its query's prompt and at its own codes.

        Args:
            x: normed states of the newest codes, [B, K, d_model].
            layer: whose weights are used.
            angles: of the newest codes, which share one position.
            bias: from :meth:`columns`.
            prompt: keys and values of the prompt.
            earlier: those of the codes of earlier levels; None at level 0.
            level: of the newest codes.

        Returns:
            [B, K, d_model]; keys and values with those of the newest codes.
        """

    def follow_parents(self, read: CodesRead, parents: ir.Value, level: int) -> CodesRead:
        """Give every beam what was read by the beam it descends from.

        Args:
            read: the codes up to ``level``.
            parents: int64 [B, K], rows of the flattened [B · K] beams.
            level: of the newest code.
        """


@dataclass(frozen=True)
class PartedAttention:
    """Scores of the prompt and of a beam's own codes are computed apart and weighed together.

    Keys and values of a prompt are [B, N, 1, D, T] and [B, N, 1, T, D], those of beams [B, K, N, D, l] and
    [B, K, N, l, D].
    """

    blocks: Blocks

    def bias(self, seen: ir.Value) -> ir.Value:
        """As in :class:`Attention`, [B, 1, 1, T, T]."""
        return self.blocks.bias(self.blocks.g.unsqueeze(seen, 1, 2))

    def in_prompt(
        self, x: ir.Value, layer: int, angles: Angles, bias: ir.Value, only_last: bool
    ) -> tuple[ir.Value, KeysValues]:
        """As in :class:`Attention`."""
        g, blocks, config = self.blocks.g, self.blocks, self.blocks.config
        attention = f"layers.{layer}.self_attn"
        keys = blocks.turn(blocks.keys(self._prompt_heads(x, f"{attention}.k_proj"), layer), angles)
        values = self._prompt_heads(x, f"{attention}.v_proj")
        prompt = KeysValues(g.unsqueeze(g.Transpose(keys, perm=(0, 1, 3, 2)), 2), g.unsqueeze(values, 2))
        if only_last:
            x, angles = g.last(x, 1), angles.last(g)
        queries = blocks.turn(blocks.queries(self._prompt_heads(x, f"{attention}.q_proj"), layer), angles)
        queries = g.reshape(queries, 0, config.n_kv_heads, self._groups, -1, config.head_dim)
        mixed = g.MatMul(g.Softmax(g.Add(g.MatMul(queries, prompt.keys), bias), axis=-1), prompt.values)
        return self._output(g.Transpose(mixed, perm=(0, 3, 1, 2, 4)), layer), prompt

    def columns(
        self, codes: ir.Value, prompt_bias: ir.Value, earlier: CodesRead | None
    ) -> tuple[ir.Value, tuple[ir.Value, ...]]:
        """As in :class:`Attention`: the prompt's may be padding, and a beam has its own columns only."""
        del codes, earlier
        return prompt_bias, ()

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
        """As in :class:`Attention`."""
        g, blocks, config, n_codes = self.blocks.g, self.blocks, self.blocks.config, level + 1
        codes = self._own(x, layer, angles)
        if earlier:
            codes = KeysValues(
                g.Concat(earlier.keys, codes.keys, axis=4), g.Concat(earlier.values, codes.values, axis=3)
            )
        heads = blocks.beam_heads(x, f"layers.{layer}.self_attn.q_proj")
        queries = blocks.turn(blocks.queries(heads, layer), angles)
        queries = g.reshape(queries, 0, -1, config.n_kv_heads, self._groups, config.head_dim)
        to_prompt = g.Add(g.MatMul(self._beams_inside(queries), prompt.keys), bias)
        to_codes = self._beams_inside(g.MatMul(queries, codes.keys))
        shares = g.Softmax(g.Concat(to_prompt, to_codes, axis=-1), axis=-1)
        of_prompt = g.Slice(shares, g.int64([0]), g.int64([-n_codes]), g.int64([-1]))
        of_codes = g.Slice(shares, g.int64([-n_codes]), g.int64([SLICE_END]), g.int64([-1]))
        from_prompt = self._beams_outside(g.MatMul(of_prompt, prompt.values))
        from_codes = g.MatMul(self._beams_outside(of_codes), codes.values)
        return self._output(g.Add(from_prompt, from_codes), layer), codes

    def follow_parents(self, read: CodesRead, parents: ir.Value, level: int) -> CodesRead:
        """As in :class:`Attention`: keys and values are gathered."""
        g, config, n_codes = self.blocks.g, self.blocks.config, level + 1
        n_heads, dim = config.n_kv_heads, config.head_dim

        def rows(x: ir.Value, *shape: int) -> ir.Value:
            return g.Gather(g.reshape(x, -1, *shape), parents, axis=0)

        layers = [
            KeysValues(rows(past.keys, n_heads, dim, n_codes), rows(past.values, n_heads, n_codes, dim))
            for past in read.layers
        ]
        return CodesRead(layers, ())

    @property
    def _groups(self) -> int:
        return self.blocks.config.n_heads // self.blocks.config.n_kv_heads

    def _own(self, x: ir.Value, layer: int, angles: Angles) -> KeysValues:
        """Keys and values of the newest code of every beam: x [B, K, d_model]; l is 1."""
        g, blocks, attention = self.blocks.g, self.blocks, f"layers.{layer}.self_attn"
        keys = blocks.turn(blocks.keys(blocks.beam_heads(x, f"{attention}.k_proj"), layer), angles)
        values = blocks.linear(x, f"{attention}.v_proj")
        n_heads, dim = blocks.config.n_kv_heads, blocks.config.head_dim
        return KeysValues(g.reshape(keys, 0, -1, n_heads, dim, 1), g.reshape(values, 0, -1, n_heads, 1, dim))

    def _beams_inside(self, x: ir.Value) -> ir.Value:
        """[B, K, N, G, ·] → [B, N, G, K, ·]: the beams of a query become the rows of one matrix."""
        return self.blocks.g.Transpose(x, perm=(0, 2, 3, 1, 4))

    def _beams_outside(self, x: ir.Value) -> ir.Value:
        """[B, N, G, K, ·] → [B, K, N, G, ·]."""
        return self.blocks.g.Transpose(x, perm=(0, 3, 1, 2, 4))

    def _prompt_heads(self, x: ir.Value, projection: str) -> ir.Value:
        """[B, S, d_model] → [B, heads, S, D]."""
        g = self.blocks.g
        heads = g.reshape(self.blocks.linear(x, projection), 0, 0, -1, self.blocks.config.head_dim)
        return g.Transpose(heads, perm=(0, 2, 1, 3))

    def _output(self, mixed: ir.Value, layer: int) -> ir.Value:
        """[B, S, N, G, D] → [B, S, d_model]."""
        mixed = self.blocks.g.reshape(mixed, 0, 0, -1)
        return self.blocks.linear(mixed, f"layers.{layer}.self_attn.o_proj")
