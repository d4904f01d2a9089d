"""RAD-DPO against its formulas in plain float64 Python, and the laws of its modules."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.objectives import Candidates
from training.objectives.rad_dpo import (
    WINDOW,
    RadDpo,
    RadDpoSettings,
    calibrated,
    detach_shared_prefix,
    published,
    similarity_weights,
)
from training.objectives.sft import Sft, SftSettings
from training.packing import Scores

# Two sessions of 2 positives and 3 negatives, 3 codes. Some negatives share a prefix with a positive, one is
# the positive itself, and the second session has a filler in each group.
CODES = torch.tensor(
    [
        [[1, 2, 3], [1, 4, 0], [1, 2, 0], [5, 2, 3], [1, 4, 0]],
        [[2, 0, 0], [0, 0, 0], [2, 0, 1], [3, 3, 3], [0, 0, 0]],
    ]
)
PRESENT = torch.tensor([[True, True, True, True, True], [True, False, True, True, False]])
P, N, L = 2, 3, 3
PLAIN = RadDpoSettings(tlgd=False, rdrw=False, mlgc=True, sft_weight=0.0, beta=2.0)


def make_log_probs(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    log_probs = -torch.rand(2, P + N, L, generator=generator, dtype=torch.float64) * 3 - 0.1
    return log_probs.requires_grad_()


def make_candidates(log_probs: Tensor, ends: Tensor | None = None) -> Candidates:
    return Candidates(CODES, PRESENT, P, Scores((), log_probs, torch.zeros(2, 4), ends))


def make_ends(seed: int = 0) -> Tensor:
    return torch.randn(2, P + N, 4, generator=torch.Generator().manual_seed(seed))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def pairs_of(session: int) -> list[tuple[int, list[int]]]:
    """Each present positive with the negatives it is preferred to, by candidate index."""
    codes, present = CODES[session].tolist(), PRESENT[session].tolist()
    return [
        (p, [n for n in range(P, P + N) if present[n] and codes[n] != codes[p]])
        for p in range(P)
        if present[p]
    ]


def by_hand(log_probs: Tensor, settings: RadDpoSettings, weights: Tensor) -> tuple[float, Tensor]:
    """The loss and its gradient at the log-probabilities, with RDRW's weights [B, P, N] given."""
    value, gradient = 0.0, torch.zeros(2, P + N, L, dtype=torch.float64)
    for session in range(2):
        rows, groups = log_probs[session].tolist(), pairs_of(session)
        r = [settings.beta * sum(row) / L for row in rows]
        slopes: dict[tuple[int, int], float] = {}  # dL / d (r(p) − r(n))
        for p, negatives in groups:
            m = {n: r[p] - r[n] for n in negatives}
            w = {n: float(weights[session, p, n - P]) for n in negatives}
            if not settings.mlgc:
                share = 1 / sum(len(of_one) for _, of_one in groups) / 2
                value -= sum(math.log(sigmoid(w[n] * m[n])) for n in negatives) * share
                slopes |= {(p, n): -sigmoid(-w[n] * m[n]) * w[n] * share for n in negatives}
                continue
            share = 1 / len(groups) / 2
            if settings.listwise == "published":
                parts = {n: math.exp(w[n] * m[n]) for n in negatives}
                z = math.log(sum(parts.values()))
                rises = {n: w[n] * parts[n] / sum(parts.values()) for n in negatives}  # dz / d m
            else:
                parts = {n: w[n] * math.exp(-m[n]) for n in negatives}
                z = -math.log(sum(parts.values()) / len(negatives))
                rises = {n: parts[n] / sum(parts.values()) for n in negatives}
            value -= math.log(sigmoid(z)) * share
            slopes |= {(p, n): -sigmoid(-z) * rises[n] * share for n in negatives}
        for (p, n), slope in slopes.items():
            codes, shared = CODES[session].tolist(), 0
            while settings.tlgd and codes[p][shared] == codes[n][shared]:
                shared += 1
            gradient[session, p] += slope * settings.beta / L
            gradient[session, n, shared:] -= slope * settings.beta / L
        positives = [p for p in range(P) if PRESENT[session, p]]
        for p in positives:
            value -= settings.sft_weight * sum(rows[p]) / len(positives) / 2
            gradient[session, p] -= settings.sft_weight / len(positives) / 2
    return value, gradient


def cosines(ends: Tensor) -> Tensor:
    normal = torch.nn.functional.normalize(ends, dim=-1)
    return normal[:, :P] @ normal[:, P:].transpose(1, 2)


LISTWISE: tuple[Literal["published", "calibrated"], ...] = ("published", "calibrated")


@pytest.mark.parametrize("listwise", LISTWISE)
@pytest.mark.parametrize("tlgd", [True, False])
@pytest.mark.parametrize("rdrw", [True, False])
@pytest.mark.parametrize("mlgc", [True, False])
def test_value_and_gradient_are_those_of_the_formula(
    listwise: Literal["published", "calibrated"], tlgd: bool, rdrw: bool, mlgc: bool
) -> None:
    settings = RadDpoSettings(beta=1.7, sft_weight=0.3, tlgd=tlgd, rdrw=rdrw, mlgc=mlgc, listwise=listwise)
    for seed in range(5):
        objective, log_probs, ends = RadDpo(settings), make_log_probs(seed), make_ends(seed)
        weights = torch.ones(2, P, N)
        if rdrw:
            # The window keeps its two ends, so that the quantiles are known whatever joins it.
            objective.similarities[: WINDOW // 2], objective.similarities[WINDOW // 2 :] = -0.4, 0.6
            objective.seen.fill_(WINDOW)
            weights = 1 - 0.5 * (cosines(ends) + 0.4).clamp(0.0, 1.0)
        value = objective(make_candidates(log_probs, ends)).value
        expected, expected_gradient = by_hand(log_probs, settings, weights)
        tolerance = 1e-6 if rdrw else 1e-12  # RDRW compares in float32
        assert value.item() == pytest.approx(expected, abs=tolerance)
        gradient = torch.autograd.grad(value, log_probs)[0]
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance)


def test_global_sft_is_added_with_its_weight() -> None:
    candidates = make_candidates(make_log_probs())
    preference = RadDpo(PLAIN)(candidates).value
    both = RadDpo(replace(PLAIN, sft_weight=0.7))(candidates).value
    sft = Sft(SftSettings())(candidates).value
    assert both.item() == pytest.approx((preference + 0.7 * sft).item(), abs=1e-12)


@pytest.mark.parametrize("listwise", LISTWISE)
def test_gradients_are_those_of_finite_differences(listwise: Literal["published", "calibrated"]) -> None:
    objective = RadDpo(replace(PLAIN, listwise=listwise, sft_weight=0.3))
    assert torch.autograd.gradcheck(lambda x: objective(make_candidates(x)).value, make_log_probs())


@pytest.mark.parametrize("mlgc", [True, False])
def test_tlgd_keeps_the_value_and_stops_the_gradient_on_shared_codes(mlgc: bool) -> None:
    free, held = make_log_probs(), make_log_probs()
    without = RadDpo(replace(PLAIN, mlgc=mlgc))(make_candidates(free)).value
    with_tlgd = RadDpo(replace(PLAIN, mlgc=mlgc, tlgd=True))(make_candidates(held)).value
    assert with_tlgd.item() == without.item()
    without.backward()
    with_tlgd.backward()
    assert free.grad is not None
    assert held.grad is not None
    # Negative 0 of session 1 is (2, 0, 1); its only positive is (2, 0, 0).
    assert held.grad[1, P].tolist()[:2] == [0.0, 0.0]
    assert held.grad[1, P, 2] == free.grad[1, P, 2] != 0.0
    assert free.grad[1, P].abs().min() > 0
    # Negative 1 of session 0 is (5, 2, 3): codes after the first difference are not shared, even if equal.
    assert torch.equal(held.grad[0, P + 1], free.grad[0, P + 1])
    # Positives are pushed up along their whole SID.
    torch.testing.assert_close(held.grad[:, :P], free.grad[:, :P])


def test_detachment_is_per_pair() -> None:
    """Negative (1, 2, 0) shares two codes with positive (1, 2, 3), but one with positive (1, 4, 0)."""
    log_probs = make_log_probs()
    RadDpo(replace(PLAIN, tlgd=True))(make_candidates(log_probs)).value.backward()
    assert log_probs.grad is not None
    first, second, third = log_probs.grad[0, P].tolist()
    assert first == 0.0
    assert 0.0 < second < third


def test_detached_values_are_unchanged() -> None:
    log_probs = make_log_probs()
    shared = torch.rand(log_probs.shape) < 0.5
    held = detach_shared_prefix(log_probs, shared)
    assert torch.equal(held, log_probs)
    held.sum().backward()
    assert log_probs.grad is not None
    assert torch.equal(log_probs.grad, (~shared).double())


@pytest.mark.parametrize("settings", [PLAIN, replace(PLAIN, mlgc=False), RadDpoSettings(sft_weight=0.0)])
def test_fillers_and_negatives_equal_to_the_positive_have_no_effect(settings: RadDpoSettings) -> None:
    log_probs = make_log_probs()
    before = RadDpo(settings)(make_candidates(log_probs, make_ends())).value
    changed = log_probs.detach().clone()
    changed[1, 1] = -50.0  # filler among the positives
    changed[1, P + 2] = -50.0  # filler among the negatives
    after = RadDpo(settings)(make_candidates(changed, make_ends())).value
    assert after.item() == pytest.approx(before.item(), abs=1e-12)

    # Negative 2 of session 0 equals positive 1: it bears on positive 0 alone.
    only_second = PRESENT.clone()
    only_second[0, 0] = False
    second = Candidates(CODES, only_second, P, Scores((), log_probs, torch.zeros(2, 4), make_ends()))
    value = RadDpo(settings)(second).value
    gradient = torch.autograd.grad(value, log_probs)[0]
    assert not gradient[0, P + 2].any()


def test_a_session_without_any_pair_has_no_preference_and_no_nan() -> None:
    log_probs = make_log_probs()
    nothing = torch.zeros_like(PRESENT)
    nothing[:, 0] = True
    for listwise in LISTWISE:
        objective = RadDpo(replace(PLAIN, listwise=listwise))
        value = objective(Candidates(CODES, nothing, P, Scores((), log_probs, torch.zeros(2, 4), None))).value
        assert value.item() == 0.0
        assert not torch.autograd.grad(value, log_probs)[0].any()


def test_weights_fall_from_one_to_a_half_between_the_quantiles() -> None:
    similarity = torch.tensor([-1.0, 0.2, 0.4, 0.6, 0.9], dtype=torch.float64)
    weights = similarity_weights(similarity, torch.tensor(0.2), torch.tensor(0.6))
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0, 0.75, 0.5, 0.5], dtype=torch.float64))
    at_ends = similarity_weights(
        torch.tensor([-9.0, 0.25, 0.75, 9.0]), torch.tensor(0.25), torch.tensor(0.75)
    )
    assert at_ends.tolist() == [1.0, 1.0, 0.5, 0.5]


def test_equal_quantiles_give_finite_weights() -> None:
    weights = similarity_weights(torch.tensor([0.1, 0.3, 0.5]), torch.tensor(0.3), torch.tensor(0.3))
    assert weights.tolist() == [1.0, 1.0, 0.5]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.floats(-1, 0.9), st.floats(0.01, 1))
def test_weights_are_linear_between_the_quantiles(
    similarities: list[float], lower: float, width: float
) -> None:
    drawn = torch.tensor(similarities, dtype=torch.float64)
    weights = similarity_weights(drawn, torch.tensor(lower), torch.tensor(lower + width))
    expected = np.interp(similarities, [lower, lower + width], [1.0, 0.5])
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-5)


def test_weights_enter_the_listwise_formulas() -> None:
    margins = torch.tensor([[[0.5, -1.0]]], dtype=torch.float64)
    weights = torch.tensor([[[1.0, 0.5]]], dtype=torch.float64)
    pairs = torch.ones(1, 1, 2, dtype=torch.bool)
    assert published(margins, weights, pairs).item() == pytest.approx(
        math.log(math.exp(0.5) + math.exp(-0.5))
    )
    assert calibrated(margins, weights, pairs).item() == pytest.approx(
        -math.log((math.exp(-0.5) + 0.5 * math.exp(1.0)) / 2)
    )


def test_calibrated_contrast_is_zero_at_equal_rewards() -> None:
    zeros, ones = torch.zeros(1, 1, 3), torch.ones(1, 1, 3)
    assert calibrated(zeros, ones, ones.bool()).item() == pytest.approx(0.0, abs=1e-7)


def test_rdrw_waits_for_a_full_window_and_then_weighs_by_quantiles() -> None:
    settings = RadDpoSettings(tlgd=False, sft_weight=0.0, lower_quantile=0.2, upper_quantile=0.8)
    objective, ends, log_probs = RadDpo(settings), make_ends(), make_log_probs()
    candidates = make_candidates(log_probs, ends)
    n_pairs = int(candidates.pairs().sum())
    unweighted = RadDpo(replace(settings, rdrw=False))(candidates).value
    objective.seen.fill_(WINDOW - n_pairs - 1)
    assert objective(candidates).value.item() == unweighted.item()
    assert objective.seen.item() == WINDOW - 1

    remembered = torch.linspace(-1, 1, WINDOW)
    objective.similarities.copy_(remembered)
    value = objective(candidates).value.item()
    # The newest similarities stand in the last place and then at the front.
    similarity = cosines(ends)
    newest = similarity[candidates.pairs()]
    window = remembered.clone()
    window[-1], window[: n_pairs - 1] = newest[0], newest[1:]
    assert torch.equal(objective.similarities, window)
    lower, upper = (float(torch.quantile(window, q)) for q in (0.2, 0.8))
    weights = 1 - 0.5 * ((similarity - lower) / (upper - lower)).clamp(0.0, 1.0)
    assert value == pytest.approx(by_hand(log_probs, settings, weights)[0], abs=1e-6)


def test_the_batch_that_fills_the_window_is_the_first_to_be_weighed() -> None:
    settings = RadDpoSettings(sft_weight=0.0)
    candidates = make_candidates(make_log_probs(), make_ends())
    n_pairs = int(candidates.pairs().sum())
    unweighted = RadDpo(replace(settings, rdrw=False))(candidates).value.item()
    for missing, weighed in ((n_pairs + 1, False), (n_pairs, True)):
        objective = RadDpo(settings)
        objective.similarities.copy_(torch.linspace(-1, 1, WINDOW))
        objective.seen.fill_(WINDOW - missing)
        assert (objective(candidates).value.item() != unweighted) == weighed


def test_the_window_forgets_the_oldest_similarities() -> None:
    objective = RadDpo(RadDpoSettings())
    sessions = WINDOW // 7 + 1  # two of them have 7 pairs
    ends = torch.randn(2 * sessions, P + N, 4, generator=torch.Generator().manual_seed(1))
    codes, present = CODES.repeat(sessions, 1, 1), PRESENT.repeat(sessions, 1)
    log_probs = make_log_probs().detach().repeat(sessions, 1, 1)
    candidates = Candidates(codes, present, P, Scores((), log_probs, torch.zeros(1, 4), ends))
    objective(candidates)
    newest = cosines(ends)[candidates.pairs()][-WINDOW:]
    torch.testing.assert_close(objective.similarities.sort().values, newest.sort().values)
    assert objective.seen.item() == WINDOW


def test_similarities_are_part_of_the_saved_state() -> None:
    objective = RadDpo(RadDpoSettings())
    objective(make_candidates(make_log_probs(), make_ends()))
    restored = RadDpo(RadDpoSettings())
    restored.load_state_dict(objective.state_dict())
    assert restored.seen.item() == 7
    assert torch.equal(restored.similarities, objective.similarities)


def test_rdrw_without_ends_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="with_ends=True"):
        RadDpo(RadDpoSettings())(make_candidates(make_log_probs()))
