"""β-DPO: the pairs it draws, the β it takes, and what it remembers."""

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.objectives import Candidates
from training.objectives.beta_dpo import (
    LEAST_BETA,
    BetaDpo,
    BetaDpoSettings,
    draw,
    dynamic_beta,
    usualness,
)
from training.objectives.dpo import Dpo, DpoSettings
from training.packing import Scores

P, N, L = 2, 3, 3
# Two sessions; the last negative of the first is its second positive, and the second has two fillers.
CODES = torch.tensor(
    [
        [[1, 2, 3], [1, 4, 0], [1, 2, 0], [5, 2, 3], [1, 4, 0]],
        [[2, 0, 0], [0, 0, 0], [2, 0, 1], [3, 3, 3], [0, 0, 0]],
    ]
)
PRESENT = torch.tensor([[True, True, True, True, True], [True, False, True, True, False]])
PAIRS = [(0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 1, 2), (0, 1, 3), (1, 0, 2), (1, 0, 3)]  # session, p, n


def make_candidates(seed: int) -> Candidates:
    generator = torch.Generator().manual_seed(seed)
    policy, reference = -3 * torch.rand(2, 2, P + N, L, generator=generator, dtype=torch.float64)
    return Candidates(
        CODES, PRESENT, P, *(Scores((), s, torch.zeros(2, 4), None) for s in (policy, reference))
    )


def margins_of(candidates: Candidates) -> list[float]:
    ratios = candidates.log_ratios().detach()
    return [float(ratios[b, p] - ratios[b, n]) for b, p, n in PAIRS]


def test_value_beta_and_memory_are_those_of_the_formula_over_many_batches() -> None:
    settings = BetaDpoSettings(beta=0.2, alpha=0.5, kept=0.6, momentum=0.7)
    objective, mean, deviation = BetaDpo(settings), 0.0, 0.0
    for batch in range(6):
        candidates = make_candidates(batch)
        margins = margins_of(candidates)
        mean = 0.7 * mean + 0.3 * float(np.mean(margins))
        deviation = 0.7 * deviation + 0.3 * float(np.std(margins))
        weights = torch.tensor([-0.5 * ((m - mean) / deviation) ** 2 for m in margins], dtype=torch.float64)
        kept = draw(weights, 4, seed=batch).tolist()  # 0.6 of 7 pairs
        usual = float(np.mean([m for m, k in zip(margins, kept, strict=True) if k]))
        beta = max(0.2 * (1 + 0.5 * (usual - mean)), LEAST_BETA)
        expected = 0.0
        for session in range(2):
            losses = [
                math.log(1 + math.exp(-beta * m))
                for m, k, (b, _, _) in zip(margins, kept, PAIRS, strict=True)
                if k and b == session
            ]
            expected += sum(losses) / max(len(losses), 1) / 2
        loss = objective(candidates)
        assert loss.value.item() == pytest.approx(expected, abs=1e-12)
        assert loss.figures["beta"].item() == pytest.approx(beta, abs=1e-12)
        assert objective.mean.item() == pytest.approx(mean, abs=1e-12)
        assert objective.deviation.item() == pytest.approx(deviation, abs=1e-12)
    assert objective.batches.item() == 6


def test_gradient_takes_beta_and_the_draw_as_given() -> None:
    candidates = make_candidates(0)
    log_probs = candidates.policy.log_probs.requires_grad_()
    objective = BetaDpo(BetaDpoSettings(kept=1.0))
    loss = objective(candidates)
    beta = loss.figures["beta"].item()
    gradient = torch.autograd.grad(loss.value, log_probs)[0]
    expected = torch.zeros(2, P + N, dtype=torch.float64)
    for (session, p, n), margin in zip(PAIRS, margins_of(candidates), strict=True):
        step = beta / (1 + math.exp(beta * margin)) / (5 if session == 0 else 2) / 2
        expected[session, p] -= step
        expected[session, n] += step
    torch.testing.assert_close(gradient, expected[..., None].expand(gradient.shape))


def test_without_adaptation_it_is_dpo() -> None:
    candidates = make_candidates(3)
    plain = Dpo(DpoSettings(beta=0.3))(candidates).value
    still = BetaDpo(BetaDpoSettings(beta=0.3, alpha=0.0, kept=1.0))(candidates).value
    assert still.item() == pytest.approx(plain.item(), abs=1e-12)


def test_beta_rises_with_the_margins_and_stays_positive() -> None:
    usual = torch.tensor(2.0)

    def beta(*margins: float) -> float:
        return dynamic_beta(torch.tensor(margins), usual, 0.1, 0.6).item()

    assert beta(1.0, 3.0) == pytest.approx(0.1)
    assert beta(2.0, 4.0) == pytest.approx(0.1 * 1.6)
    assert beta(0.5, 1.5) == pytest.approx(0.1 * 0.4)
    assert beta(-50.0) == pytest.approx(LEAST_BETA)


def chances(weights: list[float], n: int) -> Tensor:
    """How likely each is among n drawn one after another, each time in proportion to the weights left."""
    chance = [0.0] * len(weights)
    for order in permutations(range(len(weights)), n):
        left, likely = sum(weights), 1.0
        for index in order:
            likely *= weights[index] / left
            left -= weights[index]
        for index in order:
            chance[index] += likely
    return torch.tensor(chance)


def test_pairs_are_drawn_without_replacement_in_proportion_to_their_weights() -> None:
    weights = [1.0, 0.5, 0.1, 2.0]
    draws = torch.stack([draw(torch.tensor(weights).log(), 2, seed) for seed in range(4000)])
    assert (draws.sum(-1) == 2).all()
    torch.testing.assert_close(draws.float().mean(0), chances(weights, 2), rtol=0, atol=0.03)


def test_outliers_are_left_out() -> None:
    margins = torch.tensor([0.1, -0.2, 0.0, 40.0, 0.3])
    weights = usualness(margins, torch.tensor(0.0), torch.tensor(1.0))
    torch.testing.assert_close(weights, -0.5 * margins**2)
    assert all(not draw(weights, 4, seed)[3] for seed in range(100))


def test_equal_margins_are_drawn_with_equal_chances() -> None:
    """As in the first batch of a run, where the decoder is its own reference."""
    weights = usualness(torch.zeros(5), torch.tensor(0.0), torch.tensor(0.0))
    assert weights.tolist() == [0.0] * 5
    assert len({tuple(draw(weights, 3, seed).tolist()) for seed in range(200)}) == 10
    candidates = make_candidates(0)
    own = replace(candidates, reference=candidates.policy)
    assert BetaDpo(BetaDpoSettings())(own).value.item() == pytest.approx(math.log(2))


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped() -> None:
    whole, broken = BetaDpo(BetaDpoSettings(kept=0.5)), BetaDpo(BetaDpoSettings(kept=0.5))
    values = [whole(make_candidates(batch)).value.item() for batch in range(6)]
    for batch in range(3):
        broken(make_candidates(batch))
    resumed = BetaDpo(BetaDpoSettings(kept=0.5))
    resumed.load_state_dict(broken.state_dict())
    assert [resumed(make_candidates(batch)).value.item() for batch in range(3, 6)] == values[3:]


def test_a_batch_without_a_pair_is_not_remembered() -> None:
    objective, candidates = BetaDpo(BetaDpoSettings()), make_candidates(0)
    objective(candidates)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    loss = objective(replace(candidates, present=torch.zeros_like(PRESENT)))
    assert loss.value.item() == 0.0
    assert loss.figures["beta"].item() == pytest.approx(0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.state_dict().items())
