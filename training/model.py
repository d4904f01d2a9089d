"""The decoder: a Qwen3-shaped transformer that reads a query and writes the codes of a SID.

Read from top to bottom: configuration, norm, rotary positions, attention, feed-forward, layer, decoder.
Parameter names are those of a Qwen3 checkpoint, so its weights load as they are.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NOT_SEEN = -1e30  # added to a score; finite, since −inf − (−inf) is no number

KeyValue = tuple[Tensor, Tensor]  # each [B, n_kv_heads, S, head_dim]


@dataclass(frozen=True)
class DecoderConfig:
    """Shape of the decoder.

    Attributes:
        vocab_size: tokens of the query tokenizer, specials included.
        codebook_sizes: codes per SID level, length L.
        embedding_dim: size of the item embeddings that SIDs were made from.
        vector_dim: size of the query and item vectors compared by cosine.
        d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff: as in Qwen3.
        rope_theta: base of the rotary angles.
        rms_eps: added to the mean square in RMSNorm.
        max_prompt: tokens of the longest prompt, specials included; a longer query is cut by the tokenizer.
    """

    vocab_size: int
    codebook_sizes: tuple[int, ...]
    embedding_dim: int
    vector_dim: int = 128
    d_model: int = 128
    n_layers: int = 3
    n_heads: int = 4
    n_kv_heads: int = 2
    head_dim: int = 32
    d_ff: int = 384
    rope_theta: float = 10_000.0
    rms_eps: float = 1e-6
    max_prompt: int = 32

    @property
    def levels(self) -> int:
        """SID length L."""
        return len(self.codebook_sizes)

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "DecoderConfig":
        """Inverse of :meth:`to_dict`."""
        return cls(**{**raw, "codebook_sizes": tuple(raw["codebook_sizes"])})


@dataclass(frozen=True)
class Prompts:
    """Queries as the decoder reads them.

    Attributes:
        tokens: int64 [B, T], ``[BOS] query [SEP]``, padded on the left, so that [SEP] is the last column.
        mask: bool [B, T], false on padding.
        embeddings: float32 [B, embedding_dim], each query's by the embedder of the items; zeros where that
            knows no texts.
    """

    tokens: Tensor
    mask: Tensor
    embeddings: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> "Prompts":
        return Prompts(self.tokens[rows], self.mask[rows], self.embeddings[rows])

    def to(self, device: torch.device) -> "Prompts":
        """Copy to a device."""
        return Prompts(self.tokens.to(device), self.mask.to(device), self.embeddings.to(device))

    def positions(self) -> Tensor:
        """Count the tokens of each prompt from 0; padding stands at 0. int64 [B, T]."""
        return (self.mask.cumsum(-1) - 1).clamp(min=0)

    def attention(self) -> Tensor:
        """Causal over the tokens; padding sees itself, so that no row of the softmax is empty. [B, T, T]."""
        T = self.mask.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool, device=self.mask.device).tril()
        itself = torch.eye(T, dtype=torch.bool, device=self.mask.device)
        return causal & self.mask[:, None, :] | itself


class RMSNorm(nn.Module):
    """Divide by the root mean square over the last axis, in float32, then scale."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] → [..., dim], in the dtype of x."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)


def rotary(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles.

    Args:
        positions: int64 [B, S].
        head_dim: size of one head.
        theta: base.

    Returns:
        Two float32 [B, 1, S, head_dim], broadcast over heads.
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[:, None, :, None].float() * theta**-exponents  # [B, 1, S, head_dim/2]
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + head_dim/2}) by its angle; x is [B, heads, S, head_dim]."""
    first, second = x.chunk(2, dim=-1)
    return (x * cos + torch.cat([-second, first], dim=-1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Grouped-query attention with RMS-normed queries and keys."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        d, dim = config.d_model, config.head_dim
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, dim
        self.q_proj = nn.Linear(d, config.n_heads * dim, bias=False)
        self.k_proj = nn.Linear(d, config.n_kv_heads * dim, bias=False)
        self.v_proj = nn.Linear(d, config.n_kv_heads * dim, bias=False)
        self.o_proj = nn.Linear(config.n_heads * dim, d, bias=False)
        self.q_norm = RMSNorm(dim, config.rms_eps)
        self.k_norm = RMSNorm(dim, config.rms_eps)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: KeyValue | None, first: int
    ) -> tuple[Tensor, KeyValue]:
        """Look back from the positions ``first``, …, S − 1.

        Args:
            x: float [B, S, d_model].
            cos: from :func:`rotary`.
            sin: likewise.
            bias: float [B, 1, 1, S, P + S], 0 where a position may look and very negative elsewhere.
            past: keys and values of P earlier positions.
            first: where to begin.

        Returns:
            float [B, S − first, d_model], and the keys and values of all P + S positions.
        """
        B, D = len(x), self.head_dim
        q = self.q_norm(self.q_proj(x[:, first:]).view(B, -1, self.n_heads, D)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(B, -1, self.n_kv_heads, D)).transpose(1, 2)
        v = self.v_proj(x).view(B, -1, self.n_kv_heads, D).transpose(1, 2)
        q, k = rotate(q, cos[:, :, first:], sin[:, :, first:]), rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        # Query heads that share keys stand below one another, so keys and values are not repeated for them.
        # At the lengths of queries this is faster than torch's fused attention, on a CPU by a third.
        scores = q.reshape(B, self.n_kv_heads, -1, D) @ k.transpose(2, 3) * D**-0.5
        scores = scores.view(B, self.n_kv_heads, -1, q.shape[2], k.shape[2]) + bias[..., first:, :]
        out = scores.softmax(dim=-1).to(v.dtype).flatten(2, 3) @ v
        return self.o_proj(out.view(q.shape).transpose(1, 2).flatten(2)), (k, v)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., d_model] → [..., d_model]."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each normed before and added after."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.rms_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.d_model, config.rms_eps)
        self.mlp = FeedForward(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: KeyValue | None, first: int
    ) -> tuple[Tensor, KeyValue]:
        """Arguments and results as in :class:`Attention`."""
        attended, key_value = self.self_attn(self.input_layernorm(x), cos, sin, bias, past, first)
        x = x[:, first:] + attended
        return x + self.mlp(self.post_attention_layernorm(x)), key_value


class Decoder(nn.Module):
    """Query tokens in, codes out.

    The prompt is ``[BOS] query [SEP]``; ``[SEP]`` also carries the query's embedding, made as those of the
    items are, so that the decoder knows words that no training query has. The hidden state at ``[SEP]``
    predicts the code of level 0, the one at the code of level l predicts level l + 1. Each level has its own
    codebook; its output head is tied to its code embeddings.

    Items inside SIDs are ordered by unit vectors. Both sides map embeddings by ``item_head``; on the query's
    side ``query_head`` adds what the decoder makes of the query. Before training the cosine of two vectors is
    that of their embeddings, as nearly as ``vector_dim`` allows.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.code_embeddings = nn.ModuleList(
            nn.Embedding(size, config.d_model) for size in config.codebook_sizes
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.rms_eps)
        self.query_projection = nn.Linear(config.embedding_dim, config.d_model, bias=False)
        self.query_head = nn.Linear(config.d_model, config.vector_dim, bias=False)
        self.item_head = nn.Linear(config.embedding_dim, config.vector_dim, bias=False)
        self.apply(self._initialise)
        nn.init.normal_(self.query_projection.weight, std=0.1)  # a unit vector outweighs a token's embedding
        nn.init.zeros_(self.query_head.weight)
        nn.init.orthogonal_(self.item_head.weight)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        attend: Tensor,
        past: list[KeyValue] | None = None,
        first: int = 0,
    ) -> tuple[Tensor, list[KeyValue]]:
        """Run all layers.

        Args:
            x: input embeddings, float [B, S, d_model]; see :meth:`embed_prompts` and :meth:`embed_codes`.
            positions: int64 [B, S].
            attend: bool [B, S, P + S]; true where a query position may look. Every row has one true entry
                at least (padding looks at itself), else softmax has nothing to normalise.
            past: per layer, keys and values of P earlier positions.
            first: the first position whose hidden state is wanted. The last layer leaves out what lies
                before it, but for keys and values.

        Returns:
            Normed hidden states [B, S − first, d_model], and per layer the keys and values of all P + S
            positions.
        """
        cos, sin = rotary(positions, self.config.head_dim, self.config.rope_theta)
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        bias = torch.where(attend, 0.0, NOT_SEEN)[:, None, None]
        key_values = []
        for index, layer in enumerate(self.layers):
            begin = first if index == len(self.layers) - 1 else 0
            x, key_value = layer(x, cos, sin, bias, past[index] if past else None, begin)
            key_values.append(key_value)
        return self.norm(x), key_values

    def embed_prompts(self, prompts: Prompts) -> Tensor:
        """Embed the tokens, and at [SEP] the query as a whole: [B, T, d_model]."""
        tokens = self.embed_tokens(prompts.tokens)
        sep = tokens[:, -1:] + self.query_projection(prompts.embeddings)[:, None]
        return torch.cat([tokens[:, :-1], sep], dim=1)

    def codebook(self, level: int) -> Tensor:
        """Code embeddings of a level and, being tied, its output head: [V_l, d_model]."""
        return self.get_parameter(f"code_embeddings.{level}.weight")

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Embed the first n codes of SIDs, level by level: int64 [..., n] → [..., n, d_model]."""
        levels = [F.embedding(codes[..., level], self.codebook(level)) for level in range(codes.shape[-1])]
        return torch.stack(levels, dim=-2)

    def code_log_probs(self, hidden: Tensor, level: int) -> Tensor:
        """Log-probabilities over the full codebook of a level: [..., d_model] → float32 [..., V_l]."""
        return F.log_softmax(F.linear(hidden, self.codebook(level)).float(), dim=-1)

    def query_vectors(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Unit query vectors.

        Args:
            hidden: states at [SEP], [..., d_model].
            embeddings: of the queries, [..., embedding_dim].

        Returns:
            float32 [..., vector_dim].
        """
        return F.normalize((self.query_head(hidden) + self.item_head(embeddings)).float(), dim=-1)

    def item_vectors(self, embeddings: Tensor) -> Tensor:
        """Unit item vectors from item embeddings: [..., embedding_dim] → float32 [..., vector_dim]."""
        return F.normalize(self.item_head(embeddings).float(), dim=-1)
