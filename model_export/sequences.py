"""The torch decoder over whole sequences: one prompt with SIDs behind it, without padding and cached keys."""

import torch
from torch import Tensor

from model_export.reference import Prompt
from training.model import Decoder, Prompts


def hidden_states(decoder: Decoder, prompt: Prompt, codes: Tensor) -> Tensor:
    """Run a prompt once per row of codes.

    Args:
        decoder: the model.
        prompt: T tokens.
        codes: int64 [n, l].

    Returns:
        Normed states, float32 [n, T + l, d_model].
    """
    tokens, embedding = torch.from_numpy(prompt.tokens), torch.from_numpy(prompt.embedding)
    alone = Prompts(tokens[None], torch.ones(1, len(tokens), dtype=torch.bool), embedding[None])
    embedded = decoder.embed_prompts(alone).expand(len(codes), -1, -1)
    x = torch.cat([embedded, decoder.embed_codes(codes)], dim=1)
    length = x.shape[1]
    positions = torch.arange(length).expand(len(codes), -1)
    hidden: Tensor
    hidden, _ = decoder(x, positions, torch.ones(1, length, length, dtype=torch.bool).tril())
    return hidden
