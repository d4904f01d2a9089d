"""What all contenders decode: one random decoder, one random catalogue, random prompts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.session import GraphSession
from model_export.session import Prompts as GraphPrompts
from sid import SidTable, Trie
from training.model import Decoder, DecoderConfig, Prompts
from training.tokenizer import BOS, EOS, SEP

EMBEDDING_DIM = 128  # of queries, as the default embedder makes them
LOUDNESS = 4.0  # factor on initial weights: beams then differ in score as those of a trained decoder do


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder and its catalogue.

    Attributes:
        d_model, n_layers: of the decoder; it has a head for each 64 of d_model, two share keys and values.
        head_dim: of a head.
        vocab_size: tokens.
        codebooks: codes per level.
        n_sids: that exist, drawn uniformly.
        prompt_tokens: of every prompt.
    """

    d_model: int = 256
    n_layers: int = 4
    head_dim: int = 64
    vocab_size: int = 4096
    codebooks: tuple[int, ...] = (1024, 1024, 1024)
    n_sids: int = 50_000
    prompt_tokens: int = 32

    @property
    def name(self) -> str:
        """Width × depth."""
        return f"{self.d_model}x{self.n_layers}"

    def config(self) -> DecoderConfig:
        """The decoder's full configuration."""
        n_heads = max(self.d_model // 64, 2)
        return DecoderConfig(
            vocab_size=self.vocab_size,
            codebook_sizes=self.codebooks,
            embedding_dim=EMBEDDING_DIM,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=n_heads,
            n_kv_heads=n_heads // 2,
            head_dim=min(self.head_dim, self.d_model // 2),
            d_ff=3 * self.d_model,
            max_prompt=self.prompt_tokens,
        )


@dataclass(frozen=True)
class Setup:
    """The same weights, SIDs and prompts for everybody."""

    shape: Shape
    decoder: Decoder
    table: SidTable
    trie: Trie
    seed: int

    @classmethod
    def make(cls, shape: Shape, seed: int) -> "Setup":
        """Draw weights and SIDs."""
        torch.manual_seed(seed)
        decoder = Decoder(shape.config()).eval()
        with torch.no_grad():
            for weight in decoder.parameters():
                if weight.dim() > 1:
                    weight.mul_(LOUDNESS)
        table = random_table(shape.n_sids, shape.codebooks, 0.0, seed)
        return cls(shape, decoder, table, Trie.from_table(table), seed)

    def prompts(self, batch_size: int) -> Prompts:
        """Random prompts of full length; their embeddings are zeros, which tell the decoder nothing."""
        generator = torch.Generator().manual_seed(self.seed)
        size = (batch_size, self.shape.prompt_tokens)
        tokens = torch.randint(EOS + 1, self.shape.vocab_size, size, generator=generator)
        tokens[:, 0], tokens[:, -1] = BOS, SEP
        return Prompts(tokens, torch.ones(size, dtype=torch.bool), torch.zeros(batch_size, EMBEDDING_DIM))

    def graph_session(
        self, beam_width: int, threads: int, input_ranges: Mapping[str, float] = MappingProxyType({})
    ) -> GraphSession:
        """The decoder's exported graph, loaded; with ``input_ranges`` the one in int8."""
        model = build_graph(self.decoder.config, weights_of(self.decoder), beam_width, input_ranges)
        return GraphSession(ir.to_proto(model).SerializeToString(), beam_width, threads)


def for_graph(prompts: Prompts) -> GraphPrompts:
    """The same prompts as arrays."""
    return GraphPrompts(prompts.tokens.numpy(), prompts.mask.numpy(), prompts.embeddings.numpy())


def random_table(n_sids: int, codebooks: tuple[int, ...], skew: float, seed: int) -> SidTable:
    """Draw distinct SIDs, every level by itself.

    Args:
        n_sids: how many, well below the number of combinations.
        codebooks: codes per level.
        skew: exponent of Zipf's law over the codes of a level; 0 draws uniformly.
        seed: of the draw.

    Raises:
        ValueError: if there are not as many combinations.
    """
    if n_sids > math.prod(codebooks):
        raise ValueError(f"{n_sids:,} distinct SIDs asked for, codebooks {codebooks} have fewer")
    rng = np.random.default_rng(seed)
    keys: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    while len(keys) < n_sids:
        codes = [_draw(rng, size, 2 * n_sids, skew) for size in codebooks]
        keys = np.union1d(keys, np.ravel_multi_index(codes, codebooks))
    chosen = rng.permutation(keys)[:n_sids]
    return SidTable.from_item_codes(np.stack(np.unravel_index(chosen, codebooks), axis=1), codebooks)


def _draw(rng: np.random.Generator, size: int, n: int, skew: float) -> NDArray[np.int64]:
    weights = np.arange(1, size + 1) ** -skew
    return rng.permutation(size)[rng.choice(size, n, p=weights / weights.sum())]
