"""Packing against its oracle: every candidate alone behind its own prompt, without padding."""

import pytest
import torch
from torch import Tensor

from training.model import Decoder, DecoderConfig, Prompts
from training.packing import Packed, score
from training.tokenizer import EOS

LENGTHS = (2, 5, 3)  # tokens per prompt
CANDIDATES = 4


def make_decoder(codebook_sizes: tuple[int, ...]) -> Decoder:
    torch.manual_seed(0)
    config = DecoderConfig(
        vocab_size=30,
        codebook_sizes=codebook_sizes,
        embedding_dim=6,
        vector_dim=4,
        d_model=16,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        d_ff=24,
    )
    decoder = Decoder(config)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "norm" not in name:
                weight.mul_(10)  # far from uniform, so that a wrong mask shows
    return decoder


def make_packed(codebook_sizes: tuple[int, ...]) -> Packed:
    generator = torch.Generator().manual_seed(1)
    T = max(LENGTHS)
    tokens = torch.randint(4, 30, (len(LENGTHS), T), generator=generator)
    mask = torch.arange(T) >= T - torch.tensor(LENGTHS)[:, None]
    codes = [
        torch.randint(0, size, (len(LENGTHS), CANDIDATES), generator=generator) for size in codebook_sizes
    ]
    embeddings = torch.randn(len(LENGTHS), 6, generator=generator)
    return Packed(Prompts(tokens * mask, mask, embeddings), torch.stack(codes, dim=-1))


def alone(
    decoder: Decoder, prompt: Tensor, embedding: Tensor, codes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Per-code log-probabilities [L], state at [SEP] and at [EOS], of one unpadded causal sequence."""
    end = decoder.embed_tokens(torch.tensor([EOS]))
    tokens = decoder.embed_tokens(prompt)
    sep = tokens[-1:] + decoder.query_projection(embedding)
    x = torch.cat([tokens[:-1], sep, decoder.embed_codes(codes), end])[None]
    S, T = x.shape[1], len(prompt)
    hidden, _ = decoder(x, torch.arange(S)[None], torch.ones(1, S, S).tril().bool())
    states = hidden[0, T - 1 :]
    log_probs = [decoder.code_log_probs(states[level], level)[code] for level, code in enumerate(codes)]
    return torch.stack(log_probs), states[0], states[-1]


def gradients(decoder: Decoder, loss: Tensor) -> dict[str, Tensor]:
    decoder.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in decoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("codebook_sizes", [(7, 5, 6), (7, 5), (7,)])
def test_packed_scores_and_gradients_are_those_of_each_candidate_alone(
    codebook_sizes: tuple[int, ...],
) -> None:
    decoder, packed = make_decoder(codebook_sizes), make_packed(codebook_sizes)
    prompts, scores = packed.prompts, score(decoder, packed, with_ends=True)
    oracle = [
        [
            alone(decoder, prompts.tokens[b, -length:], prompts.embeddings[b], packed.codes[b, c])
            for c in range(CANDIDATES)
        ]
        for b, length in enumerate(LENGTHS)
    ]
    log_probs = torch.stack([torch.stack([one[0] for one in row]) for row in oracle])
    states = torch.stack([row[0][1] for row in oracle])
    ends = torch.stack([torch.stack([one[2] for one in row]) for row in oracle])
    assert scores.ends is not None
    torch.testing.assert_close(scores.log_probs, log_probs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.prompts, states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.ends, ends, atol=1e-5, rtol=1e-5)

    weights = torch.randn(log_probs.shape, generator=torch.Generator().manual_seed(2))
    expected = gradients(decoder, (weights * log_probs).sum() + states.sum())
    packed_gradients = gradients(decoder, (weights * scores.log_probs).sum() + scores.prompts.sum())
    assert packed_gradients.keys() == expected.keys()
    assert expected["query_projection.weight"].abs().max() > 0
    for name, gradient in expected.items():
        scale = gradient.abs().max().clamp(min=1.0)
        torch.testing.assert_close(packed_gradients[name] / scale, gradient / scale, atol=1e-5, rtol=0)


def test_distributions_are_normalised_and_hold_the_candidates_log_probs() -> None:
    decoder, packed = make_decoder((7, 5, 6)), make_packed((7, 5, 6))
    scores = score(decoder, packed)
    assert [tuple(d.shape) for d in scores.distributions] == [(3, 1, 7), (3, 4, 5), (3, 4, 6)]
    for level, distribution in enumerate(scores.distributions):
        torch.testing.assert_close(distribution.exp().sum(-1), torch.ones(distribution.shape[:2]))
        codes = packed.codes[..., level, None]
        picked = distribution.expand(-1, CANDIDATES, -1).gather(2, codes)[..., 0]
        assert torch.equal(picked, scores.log_probs[..., level])
    assert scores.ends is None


def test_a_candidate_does_not_see_its_neighbours() -> None:
    decoder, packed = make_decoder((7, 5, 6)), make_packed((7, 5, 6))
    before = score(decoder, packed, with_ends=True)
    codes = packed.codes.clone()
    codes[:, 2] = 0
    after = score(decoder, Packed(packed.prompts, codes), with_ends=True)
    others = [0, 1, 3]
    assert torch.equal(before.log_probs[:, others], after.log_probs[:, others])
    assert before.ends is not None
    assert after.ends is not None
    assert torch.equal(before.ends[:, others], after.ends[:, others])


def test_padding_changes_nothing_and_learns_nothing() -> None:
    decoder, packed = make_decoder((7, 5, 6)), make_packed((7, 5, 6))
    prompts = packed.prompts
    tokens = torch.cat([torch.full((3, 4), 29), prompts.tokens], dim=1)
    mask = torch.cat([torch.zeros(3, 4, dtype=torch.bool), prompts.mask], dim=1)
    tokens = torch.where(mask, tokens.clamp(max=28), 29)  # 29 stands on padding only
    narrow = Packed(Prompts(tokens[:, 4:], prompts.mask, prompts.embeddings), packed.codes)
    wide = score(decoder, Packed(Prompts(tokens, mask, prompts.embeddings), packed.codes))
    torch.testing.assert_close(wide.log_probs, score(decoder, narrow).log_probs, atol=1e-6, rtol=1e-6)
    gradient = gradients(decoder, wide.log_probs.sum())["embed_tokens.weight"]
    assert gradient.isfinite().all()
    assert not gradient[29].any()


def test_states_at_the_end_carry_no_gradient() -> None:
    scores = score(make_decoder((7, 5)), make_packed((7, 5)), with_ends=True)
    assert scores.ends is not None
    assert not scores.ends.requires_grad
