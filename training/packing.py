"""Label packing: a prompt and all its candidates in one sequence, so that the prompt is encoded once.

A packed sequence is ``[prompt, padded on the left | candidate 1 | candidate 2 | …]``. Every candidate sees
the prompt and itself, and its positions continue the prompt's as if it stood alone. So each candidate's
log-probabilities are those of the unpacked sequence ``prompt + candidate``.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model import Decoder, KeyValue, Prompts
from training.tokenizer import EOS


@dataclass(frozen=True)
class Packed:
    """Prompts with their candidates.

    Attributes:
        prompts: B of them.
        codes: int64 [B, C, L], the SIDs of the candidates. Candidates that only fill up a row may hold any
            valid codes: no other candidate sees them.
    """

    prompts: Prompts
    codes: Tensor


@dataclass(frozen=True)
class Scores:
    """What the decoder says about the candidates of each prompt.

    Attributes:
        distributions: per level, log-probabilities over the full codebook before the candidate's code of
            that level: float32 [B, C, V_l]; [B, 1, V_0] on level 0, where all candidates share the prompt.
        log_probs: float32 [B, C, L], log p(code t | prompt, earlier codes).
        prompts: hidden states at ``[SEP]``, [B, d_model].
        ends: hidden states at ``[EOS]`` after each candidate, [B, C, d_model], without gradient; None unless
            they were asked for.
    """

    distributions: tuple[Tensor, ...]
    log_probs: Tensor
    prompts: Tensor
    ends: Tensor | None


def score(decoder: Decoder, packed: Packed, with_ends: bool = False) -> Scores:
    """Score all candidates of all prompts in one pass.

    The last code of a candidate predicts nothing, so it is no input; only ``with_ends`` runs it, and
    ``[EOS]`` after it, through the decoder.
    """
    T = packed.prompts.tokens.shape[1]
    B, C, L = packed.codes.shape
    inputs = torch.arange(L - 1, device=packed.codes.device)
    prompt_rows = packed.prompts.attention()
    nothing = prompt_rows.new_zeros(B, T, C * (L - 1))
    attend = torch.cat([torch.cat([prompt_rows, nothing], 2), _attention(packed, inputs, (inputs,))], 1)
    positions = torch.cat([packed.prompts.positions(), _positions(packed, inputs)], 1)
    embedded = [F.embedding(packed.codes[..., level], decoder.codebook(level)) for level in range(L - 1)]
    x = torch.cat([decoder.embed_prompts(packed.prompts), *embedded], 1)
    hidden, past = decoder(x, positions, attend, first=T - 1)

    # Hidden states before the code of each level: at [SEP], which all candidates share, then at each code.
    before = hidden.split([1] + [C] * (L - 1), dim=1)
    distributions = tuple(decoder.code_log_probs(state, level) for level, state in enumerate(before))
    log_probs = [
        distribution.expand(B, C, -1).gather(2, packed.codes[..., level, None])
        for level, distribution in enumerate(distributions)
    ]
    ends = _ends(decoder, packed, past) if with_ends else None
    return Scores(distributions, torch.cat(log_probs, dim=2), hidden[:, 0], ends)


@torch.no_grad()
def _ends(decoder: Decoder, packed: Packed, past: list[KeyValue]) -> Tensor:
    """Hidden states at [EOS], [B, C, d_model], continuing from the keys and values of the other inputs.

    Objectives use them detached only, so this half of every candidate costs no backward pass.
    """
    _, C, L = packed.codes.shape
    inputs = torch.arange(L - 1, device=packed.codes.device)
    ending = torch.arange(L - 1, L + 1, device=packed.codes.device)
    last = F.embedding(packed.codes[..., -1], decoder.codebook(L - 1))
    end = decoder.embed_tokens.weight[EOS].expand_as(last)
    attend = _attention(packed, ending, (inputs, ending))
    ends: Tensor
    ends, _ = decoder(torch.cat([last, end], 1), _positions(packed, ending), attend, past, first=C)
    return ends


def _attention(packed: Packed, rows: Tensor, columns: tuple[Tensor, ...]) -> Tensor:
    """What candidates see: their prompt, and of each group of columns their own up to the row's offset.

    Args:
        packed: the batch.
        rows: int64 [r], offsets within a candidate of the inputs that look; all candidates' inputs at one
            offset stand together.
        columns: groups of offsets of the inputs that are seen, in the same order within a group.

    Returns:
        bool [B, r · C, T + Σ len(group) · C].
    """
    B, C, _ = packed.codes.shape
    same = torch.eye(C, dtype=torch.bool, device=rows.device)
    own = torch.cat([torch.kron(rows[:, None] >= group, same) for group in columns], dim=1)
    prompt = packed.prompts.mask[:, None, :].expand(-1, len(own), -1)
    return torch.cat([prompt, own.expand(B, -1, -1)], dim=2)


def _positions(packed: Packed, offsets: Tensor) -> Tensor:
    """Positions of the inputs at the given offsets of all candidates: int64 [B, len(offsets) · C]."""
    lengths = packed.prompts.mask.sum(-1, keepdim=True)
    return lengths + offsets.repeat_interleave(packed.codes.shape[1])
