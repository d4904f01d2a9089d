"""Other ways to compute the decoder's attention, to measure it against.

Each is the decoder's :class:`Attention` with another kernel between the projections; the weights and the
results are the same.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from training.model import Attention, Decoder, KeyValue, Layer, rotate


class KernelAttention(Attention):
    """Grouped-query attention by a kernel of torch's; arguments and results as in :class:`Attention`."""

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: KeyValue | None, first: int
    ) -> tuple[Tensor, KeyValue]:
        """Look back from the positions ``first``, …, S − 1."""
        B, D = len(x), self.head_dim
        q = self.q_norm(self.q_proj(x[:, first:]).view(B, -1, self.n_heads, D)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(B, -1, self.n_kv_heads, D)).transpose(1, 2)
        v = self.v_proj(x).view(B, -1, self.n_kv_heads, D).transpose(1, 2)
        q, k = rotate(q, cos[:, :, first:], sin[:, :, first:]), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        out = self.kernel(q, k, v, bias[:, 0, :, first:].to(q.dtype))
        return self.o_proj(out.transpose(1, 2).flatten(2)), (k, v)

    @abstractmethod
    def kernel(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Attend: q [B, heads, S, D], k and v [B, kv_heads, P + S, D], bias [B, 1, S, P + S] → as q."""


class SdpaAttention(KernelAttention):
    """``F.scaled_dot_product_attention`` with the mask as an additive bias."""

    def kernel(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Torch chooses the implementation by device and dtype."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)


class FlexAttention(KernelAttention):
    """``flex_attention``, compiled, with the mask as a score modification."""

    def kernel(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Compile on first use.

        Raises:
            NotImplementedError: on a CPU.
        """
        if not q.is_cuda:
            raise NotImplementedError("torch's flex_attention has no backward pass on a CPU")

        def add(score: Tensor, row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return score + bias[row, 0, query, key]

        out: Tensor = _compiled_flex()(q, k, v, score_mod=add, enable_gqa=True)
        return out


ATTENTIONS: dict[str, type[Attention]] = {
    "grouped": Attention,
    "sdpa": SdpaAttention,
    "flex": FlexAttention,
}
"""By name; "grouped" is the decoder's own."""


def use_attention(decoder: Decoder, name: str) -> None:
    """Put another attention in all layers of a decoder, with the weights it has."""
    for layer in decoder.layers:
        assert isinstance(layer, Layer)
        other = ATTENTIONS[name](decoder.config).to(layer.self_attn.o_proj.weight.device)
        other.load_state_dict(layer.self_attn.state_dict())
        layer.self_attn = other


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(flex_attention)
    return compiled
