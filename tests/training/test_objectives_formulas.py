"""Values and gradients of the objectives against their formulas, by hand in plain float64 Python."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from training.objectives import Candidates, Objective
from training.objectives.cal_dpo import CalDpo, CalDpoSettings
from training.objectives.dpo import Dpo, DpoSettings
from training.objectives.orpo import Orpo, OrpoSettings, log_odds
from training.objectives.s_dpo import SDpo, SDpoSettings
from training.objectives.sft import Sft, SftSettings
from training.objectives.simpo import Simpo, SimpoSettings
from training.objectives.tdpo import Tdpo, TdpoSettings, sequential_kl
from training.packing import Scores

Array = NDArray[np.float64]

# Two sessions of 2 positives and 3 negatives, 3 codes. Some negatives share a prefix with a positive, one is
# the positive itself, and the second session has a filler in each group.
CODES = np.array(
    [
        [[1, 2, 3], [1, 4, 0], [1, 2, 0], [5, 2, 3], [1, 4, 0]],
        [[2, 0, 0], [0, 0, 0], [2, 0, 1], [3, 3, 3], [0, 0, 0]],
    ]
)
PRESENT = np.array([[True, True, True, True, True], [True, False, True, True, False]])
B, P, C, L, V = 2, 2, 5, 3, 6


@dataclass(frozen=True)
class Example:
    """Log-probabilities: ``policy`` and ``reference`` [B, C, L], the others per level [B, C or 1, V]."""

    policy: Array
    reference: Array
    policy_rows: list[Array]
    reference_rows: list[Array]

    def candidates(self) -> Candidates:
        def scores(log_probs: Array, rows: list[Array]) -> Scores:
            leaves = tuple(torch.from_numpy(level.copy()).requires_grad_() for level in rows)
            return Scores(
                leaves, torch.from_numpy(log_probs.copy()).requires_grad_(), torch.zeros(B, 4), None
            )

        reference = scores(self.reference, self.reference_rows)
        policy = scores(self.policy, self.policy_rows)
        return Candidates(torch.from_numpy(CODES), torch.from_numpy(PRESENT), P, policy, reference)


def make_example(seed: int = 0) -> Example:
    rng = np.random.default_rng(seed)

    def rows() -> list[Array]:
        return [np.log(rng.dirichlet(np.ones(V), (B, C if level else 1))) for level in range(L)]

    policy, reference = -rng.uniform(0.1, 3.0, (2, B, C, L))
    return Example(policy, reference, rows(), rows())


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def negatives_of(session: int) -> Iterator[tuple[int, list[int]]]:
    """Each present positive with the negatives it is preferred to, by candidate index."""
    for p in range(P):
        if PRESENT[session, p]:
            others = (n for n in range(P, C) if PRESENT[session, n])
            yield p, [n for n in others if CODES[session, n].tolist() != CODES[session, p].tolist()]


def pairs_of(session: int) -> list[tuple[int, int]]:
    return [(p, n) for p, negatives in negatives_of(session) for n in negatives]


@dataclass
class Expected:
    """A loss with its gradients at the log-probabilities of the codes and at the levels' distributions."""

    value: float
    log_probs: Array
    rows: list[Array]

    @classmethod
    def nothing(cls) -> "Expected":
        return cls(0.0, np.zeros((B, C, L)), [np.zeros((B, C if level else 1, V)) for level in range(L)])


def sft(example: Example) -> Expected:
    expected = Expected.nothing()
    for b in range(B):
        positives = [p for p in range(P) if PRESENT[b, p]]
        for p in positives:
            expected.value -= example.policy[b, p].sum() / len(positives) / B
            expected.log_probs[b, p] -= 1 / len(positives) / B
    return expected


def dpo(example: Example, beta: float) -> Expected:
    expected, ratios = Expected.nothing(), (example.policy - example.reference).sum(-1)
    for b in range(B):
        pairs = pairs_of(b)
        for p, n in pairs:
            z, share = beta * (ratios[b, p] - ratios[b, n]), 1 / len(pairs) / B
            expected.value -= math.log(sigmoid(z)) * share
            expected.log_probs[b, p] -= beta * sigmoid(-z) * share
            expected.log_probs[b, n] += beta * sigmoid(-z) * share
    return expected


def simpo(example: Example, beta: float, gamma: float) -> Expected:
    expected = Expected.nothing()
    for b in range(B):
        pairs = pairs_of(b)
        for p, n in pairs:
            z = beta / L * example.policy[b, p].sum() - beta / L * example.policy[b, n].sum() - gamma
            share = 1 / len(pairs) / B
            expected.value -= math.log(sigmoid(z)) * share
            expected.log_probs[b, p] -= beta / L * sigmoid(-z) * share
            expected.log_probs[b, n] += beta / L * sigmoid(-z) * share
    return expected


def orpo(example: Example, weight: float) -> Expected:
    likelihood = sft(example)
    expected = Expected(likelihood.value / L, likelihood.log_probs / L, likelihood.rows)
    prob = np.exp(example.policy.mean(-1))
    for b in range(B):
        pairs = pairs_of(b)
        for p, n in pairs:
            z = math.log(prob[b, p] / (1 - prob[b, p])) - math.log(prob[b, n] / (1 - prob[b, n]))
            share = weight / len(pairs) / B
            expected.value -= math.log(sigmoid(z)) * share
            # d log-odds / d log P = 1 / (1 − P)
            expected.log_probs[b, p] -= sigmoid(-z) / (1 - prob[b, p]) / L * share
            expected.log_probs[b, n] += sigmoid(-z) / (1 - prob[b, n]) / L * share
    return expected


def s_dpo(example: Example, beta: float) -> Expected:
    expected, ratios = Expected.nothing(), (example.policy - example.reference).sum(-1)
    for b in range(B):
        groups = list(negatives_of(b))
        for p, negatives in groups:
            odds = {n: math.exp(beta * (ratios[b, n] - ratios[b, p])) for n in negatives}
            total, share = sum(odds.values()), 1 / len(groups) / B
            expected.value -= math.log(sigmoid(-math.log(total))) * share
            expected.log_probs[b, p] -= beta * total / (1 + total) * share
            for n in negatives:
                expected.log_probs[b, n] += beta * odds[n] / (1 + total) * share
    return expected


def cal_dpo(example: Example, beta: float, weight: float) -> Expected:
    expected, ratios = Expected.nothing(), (example.policy - example.reference).sum(-1)
    for b in range(B):
        pairs = pairs_of(b)
        for p, n in pairs:
            z, share = ratios[b, p] - ratios[b, n], 1 / len(pairs) / B
            above, below = ratios[b, p] - 0.5 / beta, ratios[b, n] + 0.5 / beta
            expected.value += (weight * (above**2 + below**2) - math.log(sigmoid(z))) * share
            expected.log_probs[b, p] += (2 * weight * above - sigmoid(-z)) * share
            expected.log_probs[b, n] += (2 * weight * below + sigmoid(-z)) * share
    return expected


def tdpo(example: Example, beta: float, alpha: float) -> Expected:
    expected, ratios = Expected.nothing(), (example.policy - example.reference).sum(-1)
    divergence = np.zeros((B, C))
    for before, after in zip(example.reference_rows, example.policy_rows, strict=True):
        divergence = divergence + (np.exp(before) * (before - after)).sum(-1)
    for b in range(B):
        pairs = pairs_of(b)
        for p, n in pairs:
            excess = divergence[b, n] - divergence[b, p]
            z, share = beta * (ratios[b, p] - ratios[b, n] - alpha * excess), 1 / len(pairs) / B
            expected.value -= math.log(sigmoid(z)) * share
            expected.log_probs[b, p] -= beta * sigmoid(-z) * share
            expected.log_probs[b, n] += beta * sigmoid(-z) * share
            for level, before in enumerate(example.reference_rows):
                # Only the negative's divergence has a gradient; dKL / d log π(v) = −π_ref(v).
                row = n if level else 0
                expected.rows[level][b, row] -= beta * alpha * sigmoid(-z) * share * np.exp(before[b, row])
    return expected


CASES: dict[str, tuple[Objective[Any], Callable[[Example], Expected]]] = {
    "sft": (Sft(SftSettings()), sft),
    "dpo": (Dpo(DpoSettings(beta=0.3)), lambda e: dpo(e, 0.3)),
    "simpo": (Simpo(SimpoSettings(beta=2.5, gamma=0.7)), lambda e: simpo(e, 2.5, 0.7)),
    "orpo": (Orpo(OrpoSettings(odds_weight=0.4)), lambda e: orpo(e, 0.4)),
    "s-dpo": (SDpo(SDpoSettings(beta=0.6)), lambda e: s_dpo(e, 0.6)),
    "cal-dpo": (
        CalDpo(CalDpoSettings(beta=0.2, calibration_weight=0.5)),
        lambda e: cal_dpo(e, 0.2, 0.5),
    ),
    "tdpo": (Tdpo(TdpoSettings(beta=0.3, alpha=0.7)), lambda e: tdpo(e, 0.3, 0.7)),
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradients_are_those_of_the_formula(name: str) -> None:
    objective, formula = CASES[name]
    for seed in range(5):
        example = make_example(seed)
        candidates, expected = example.candidates(), formula(example)
        value = objective(candidates).value
        assert value.item() == pytest.approx(expected.value, abs=1e-12)
        leaves = [candidates.policy.log_probs, *candidates.policy.distributions]
        at_log_probs, *at_rows = torch.autograd.grad(value, leaves, materialize_grads=True)
        np.testing.assert_allclose(at_log_probs.numpy(), expected.log_probs, atol=1e-12)
        for level, at_row in enumerate(at_rows):
            np.testing.assert_allclose(at_row.numpy(), expected.rows[level], atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """But for TDPO's divergence of the positive, whose gradient is left out on purpose."""
    objective, candidates = CASES[name][0], make_example().candidates()
    policy = candidates.policy

    def value(log_probs: torch.Tensor) -> torch.Tensor:
        scores = Scores(policy.distributions, log_probs, policy.prompts, None)
        return objective(
            Candidates(candidates.codes, candidates.present, P, scores, candidates.reference)
        ).value

    assert torch.autograd.gradcheck(value, policy.log_probs)


def test_share_of_pairs_won_counts_pairs_alone() -> None:
    example = make_example()
    ratios = (example.policy - example.reference).sum(-1)
    won = [ratios[b, p] > ratios[b, n] for b in range(B) for p, n in pairs_of(b)]
    figures = Dpo(DpoSettings())(example.candidates()).figures
    assert figures["pairs won"].item() == pytest.approx(np.mean(won))


def test_log_odds_of_a_certain_sid_are_finite_and_of_an_unlikely_one_exact() -> None:
    certain = torch.zeros(1, L, requires_grad=True)
    odds = log_odds(certain)
    odds.sum().backward()
    assert odds.isfinite().all()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()
    assert log_odds(torch.full((1, L), -300.0)).item() == -300.0


def test_divergence_is_zero_from_itself_and_positive_from_another() -> None:
    candidates = make_example().candidates()
    policy, reference = candidates.policy.distributions, candidates.compared().distributions
    torch.testing.assert_close(sequential_kl(reference, reference), torch.zeros(B, C).double())
    assert (sequential_kl(reference, policy) > 0).all()


def test_starting_from_the_reference_a_preference_costs_a_coin_toss() -> None:
    """At π = π_ref all log-ratios are 0."""
    example = make_example()
    same = Example(example.reference, example.reference, example.reference_rows, example.reference_rows)
    for objective in (Dpo(DpoSettings()), Tdpo(TdpoSettings())):
        assert objective(same.candidates()).value.item() == pytest.approx(math.log(2))
    # Of the positives of session 0, one has 3 negatives and one has 2; that of session 1 has 2.
    expected = ((math.log(4) + math.log(3)) / 2 + math.log(3)) / 2
    assert SDpo(SDpoSettings())(same.candidates()).value.item() == pytest.approx(expected)
    calibrated = CalDpo(CalDpoSettings(beta=0.1))(same.candidates()).value
    assert calibrated.item() == pytest.approx(math.log(2) + 2 * 5.0**2)


def test_s_dpo_with_one_negative_is_dpo() -> None:
    candidates = make_example().candidates()
    one = candidates.present.clone()
    one[:, P + 1 :] = False
    alone = Candidates(candidates.codes, one, P, candidates.policy, candidates.reference)
    s_dpo_value = SDpo(SDpoSettings(beta=0.4))(alone).value
    assert s_dpo_value.item() == pytest.approx(Dpo(DpoSettings(beta=0.4))(alone).value.item(), abs=1e-12)


# The three that TRL (1.16.0) has too, on the log-probabilities it works on: one positive and one negative per
# session, averaged over sessions. Its formulas stand in trl/trainer/dpo_trainer.py (loss type "sigmoid"),
# trl/experimental/cpo/cpo_trainer.py (loss type "simpo", on mean log-probabilities, with γ divided by β
# inside the product with β) and trl/experimental/orpo/orpo_trainer.py (log-odds of mean log-probabilities,
# and the negative log-likelihood per token). Here they are in probabilities, where they are ratios.


def trl_dpo(policy: Array, reference: Array, beta: float) -> float:
    gain = np.exp(policy.sum(-1)) / np.exp(reference.sum(-1))
    chosen, rejected = gain[:, 0] ** beta, gain[:, 1] ** beta
    return float(np.mean(-np.log(chosen / (chosen + rejected))))


def trl_simpo(policy: Array, beta: float, gamma: float) -> float:
    geometric = np.prod(np.exp(policy), axis=-1) ** (1 / policy.shape[-1])
    chosen, rejected = geometric[:, 0] ** beta / math.exp(gamma), geometric[:, 1] ** beta
    return float(np.mean(-np.log(chosen / (chosen + rejected))))


def trl_orpo(policy: Array, beta: float) -> float:
    geometric = np.prod(np.exp(policy), axis=-1) ** (1 / policy.shape[-1])
    odds = geometric / (1 - geometric)
    contrast = np.mean(-np.log(odds[:, 0] / (odds[:, 0] + odds[:, 1])))
    return float(-np.mean(policy[:, 0]) + beta * contrast)


def test_dpo_simpo_and_orpo_agree_with_trl() -> None:
    rng = np.random.default_rng(7)
    policy, reference = -rng.uniform(0.01, 4.0, (2, 6, 2, L))
    codes = torch.tensor([[[0] * L, [1] * L]]).expand(6, 2, L)

    def scores(log_probs: Array) -> Scores:
        return Scores((), torch.from_numpy(log_probs), torch.zeros(6, 4), None)

    candidates = Candidates(codes, torch.ones(6, 2, dtype=torch.bool), 1, scores(policy), scores(reference))
    for beta in (0.1, 0.5, 2.0):
        expected = trl_dpo(policy, reference, beta)
        assert Dpo(DpoSettings(beta))(candidates).value.item() == pytest.approx(expected, abs=1e-12)
        for gamma in (0.0, 0.5, 1.6):
            expected = trl_simpo(policy, beta, gamma)
            value = Simpo(SimpoSettings(beta, gamma))(candidates).value
            assert value.item() == pytest.approx(expected, abs=1e-12)
        expected = trl_orpo(policy, beta)
        assert Orpo(OrpoSettings(beta))(candidates).value.item() == pytest.approx(expected, abs=1e-12)
