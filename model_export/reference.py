"""The decoder and its search once more, in plain NumPy and float64: what the graph is judged by.

One prompt at a time, without padding, without cached keys and values, every score from the whole sequence.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.model import DecoderConfig

Floats = NDArray[np.float64]
Prefix = tuple[int, ...]


class Prompt(NamedTuple):
    """One query without padding.

    Attributes:
        tokens: int64 [T], from [BOS] to [SEP].
        embedding: float [embedding_dim], of the query.
    """

    tokens: NDArray[np.int64]
    embedding: NDArray[np.floating]


class ReferenceDecoder:
    """The computations of ``training.model.Decoder``.

    Args:
        config: shape of the decoder.
        weights: its parameters by the names of the checkpoint.
    """

    def __init__(self, config: DecoderConfig, weights: Mapping[str, NDArray[np.float32]]) -> None:
        self._config = config
        # Widened when used: two copies of a large decoder's weights in float64 would not fit.
        self._weights = {name.removesuffix(".weight"): array for name, array in weights.items()}

    def next_log_probs(self, prompt: Prompt, prefixes: NDArray[np.integer]) -> Floats:
        """Log-probabilities of the code after each prefix.

        Args:
            prompt: the query.
            prefixes: int [n, l], codes of the first l levels; l may be 0.

        Returns:
            float64 [n, V_l], over the full codebook.
        """
        return self._log_probs(self._states(prompt, prefixes)[:, -1], prefixes.shape[1])

    def log_probs(self, prompt: Prompt, sids: NDArray[np.integer]) -> Floats:
        """Log-probabilities of whole SIDs: int [n, L] → float64 [n]."""
        states = self._states(prompt, sids[:, :-1])[:, len(prompt.tokens) - 1 :]
        total = np.zeros(len(sids))
        for level in range(self._config.levels):
            total += self._log_probs(states[:, level], level)[np.arange(len(sids)), sids[:, level]]
        return total

    def query_vector(self, prompt: Prompt) -> Floats:
        """Unit query vector of a prompt, float64 [vector_dim]."""
        state = self._states(prompt, np.empty((1, 0), np.int64))[0, -1]
        embedding = prompt.embedding.astype(np.float64)
        vector: Floats = self._weights["query_head"] @ state + self._weights["item_head"] @ embedding
        return vector / np.linalg.norm(vector)

    def _log_probs(self, states: Floats, level: int) -> Floats:
        logits = self._linear(states, f"code_embeddings.{level}")
        return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)

    def _states(self, prompt: Prompt, codes: NDArray[np.integer]) -> Floats:
        """Normed states over prompt and codes: [n, T + l, d_model]."""
        tokens = self._weights["embed_tokens"][prompt.tokens].astype(np.float64)
        tokens[-1] += self._weights["query_projection"] @ prompt.embedding.astype(np.float64)
        parts = [np.broadcast_to(tokens, (len(codes), *tokens.shape))]
        for level in range(codes.shape[1]):
            parts.append(self._weights[f"code_embeddings.{level}"][codes[:, level]][:, None])
        x = np.concatenate(parts, axis=1)
        for layer in range(self._config.n_layers):
            block = f"layers.{layer}"
            x = x + self._attention(self._norm(x, f"{block}.input_layernorm"), f"{block}.self_attn")
            x = x + self._feed_forward(self._norm(x, f"{block}.post_attention_layernorm"), f"{block}.mlp")
        return self._norm(x, "norm")

    def _norm(self, x: Floats, name: str) -> Floats:
        mean_square = np.mean(x * x, axis=-1, keepdims=True)
        scaled: Floats = x / np.sqrt(mean_square + self._config.rms_eps) * self._weights[name]
        return scaled

    def _linear(self, x: Floats, name: str) -> Floats:
        out: Floats = x @ self._weights[name].T
        return out

    def _heads(self, x: Floats, name: str) -> Floats:
        """[n, S, d_model] → [n, heads, S, D]."""
        projected = self._linear(x, name)
        shape = (*x.shape[:2], projected.shape[2] // self._config.head_dim, self._config.head_dim)
        return projected.reshape(shape).swapaxes(1, 2)

    def _rotate(self, x: Floats) -> Floats:
        """Turn each pair (x_i, x_{i + D/2}) by position · theta^(−2i/D)."""
        half = self._config.head_dim // 2
        frequencies = self._config.rope_theta ** -(np.arange(half) / half)
        angles = np.arange(x.shape[2])[:, None] * frequencies
        turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
        return np.concatenate([turned.real, turned.imag], axis=-1)

    def _attention(self, x: Floats, block: str) -> Floats:
        groups = self._config.n_heads // self._config.n_kv_heads
        queries = self._rotate(self._norm(self._heads(x, f"{block}.q_proj"), f"{block}.q_norm"))
        keys = self._rotate(self._norm(self._heads(x, f"{block}.k_proj"), f"{block}.k_norm"))
        keys, values = (
            np.repeat(heads, groups, axis=1) for heads in (keys, self._heads(x, f"{block}.v_proj"))
        )
        scores = queries @ keys.swapaxes(2, 3) / np.sqrt(self._config.head_dim)
        length = x.shape[1]
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (shares @ values / shares.sum(axis=-1, keepdims=True)).swapaxes(1, 2)
        return self._linear(
            mixed.reshape(*x.shape[:2], self._config.n_heads * self._config.head_dim), f"{block}.o_proj"
        )

    def _feed_forward(self, x: Floats, block: str) -> Floats:
        gate = self._linear(x, f"{block}.gate_proj")
        return self._linear(
            gate / (1 + np.exp(-gate)) * self._linear(x, f"{block}.up_proj"), f"{block}.down_proj"
        )


@dataclass(frozen=True)
class ReferenceBeams:
    """What the reference search found, best first; ties by SID.

    Attributes:
        log_probs: of the SIDs found, at most K.
        margin: the smallest gap, over the levels before the last, between the worst prefix kept and the best
            one dropped; infinite where none was dropped. A search that rounds more coarsely may keep another
            prefix and still be right.
    """

    log_probs: dict[Prefix, float]
    margin: float


def beam_search(
    decoder: ReferenceDecoder, prompt: Prompt, sids: NDArray[np.integer], beam_width: int
) -> ReferenceBeams:
    """Keep, level by level, the K most likely prefixes of SIDs that exist.

    Args:
        decoder: scores prefixes.
        prompt: the query.
        sids: int [n, L], the SIDs that exist.
        beam_width: K.
    """
    left = [tuple(sid) for sid in sids.tolist()]
    levels = sids.shape[1]
    beams: dict[Prefix, float] = {(): 0.0}
    margin = math.inf
    for level in range(levels):
        parents = list(beams)
        prefixes = np.asarray(parents, dtype=np.int64).reshape(len(parents), level)
        next_log_probs = dict(zip(parents, decoder.next_log_probs(prompt, prefixes), strict=True))
        scores = {
            child: beams[child[:-1]] + float(next_log_probs[child[:-1]][child[-1]])
            for child in {sid[: level + 1] for sid in left}
        }
        ranked = sorted(scores, key=lambda child: (-scores[child], child))
        if level < levels - 1 and len(ranked) > beam_width:
            margin = min(margin, scores[ranked[beam_width - 1]] - scores[ranked[beam_width]])
        beams = {child: scores[child] for child in ranked[:beam_width]}
        left = [sid for sid in left if sid[: level + 1] in beams]
    return ReferenceBeams(beams, margin)
