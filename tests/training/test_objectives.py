"""Objectives against their formulas in plain float64 Python, and the laws of RAD-DPO's modules."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from training.objectives import OBJECTIVES, Candidates
from training.objectives.base import common_prefix, masked_mean
from training.objectives.dpo import Dpo, DpoSettings
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


def make_candidates(
    log_probs: Tensor, ends: Tensor | None = None, reference: Tensor | None = None
) -> Candidates:
    def scores(values: Tensor, ends: Tensor | None) -> Scores:
        return Scores((), values, torch.zeros(2, 4), ends)

    compared = None if reference is None else scores(reference, None)
    return Candidates(CODES, PRESENT, P, scores(log_probs, ends), compared)


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


def rewards(log_probs: Tensor, session: int, beta: float) -> list[float]:
    return [beta * sum(row) / L for row in log_probs[session].tolist()]


def test_registry_names_every_objective() -> None:
    assert {"sft", "dpo", "rad-dpo"} <= set(OBJECTIVES)
    for kind in OBJECTIVES.values():
        assert kind(kind.Settings()).settings == kind.Settings()


def test_sft_is_the_mean_negative_log_likelihood_of_positives() -> None:
    log_probs = make_log_probs()
    rows = log_probs.detach().sum(-1)
    expected = -((rows[0, 0] + rows[0, 1]) / 2 + rows[1, 0]) / 2
    loss = Sft(SftSettings())(make_candidates(log_probs))
    torch.testing.assert_close(loss.value, expected, check_dtype=False)
    loss.value.backward()
    assert log_probs.grad is not None
    assert not log_probs.grad[1, 1].any()
    assert not log_probs.grad[:, P:].any()


@pytest.mark.parametrize("listwise", ["published", "calibrated"])
def test_listwise_contrast_is_its_formula(listwise: str) -> None:
    log_probs = make_log_probs()
    total = 0.0
    for session in range(2):
        r = rewards(log_probs, session, 2.0)
        losses = []
        for p, negatives in pairs_of(session):
            if listwise == "published":
                z = math.log(sum(math.exp(r[p] - r[n]) for n in negatives))
            else:
                z = -math.log(sum(math.exp(r[n] - r[p]) for n in negatives) / len(negatives))
            losses.append(-math.log(sigmoid(z)))
        total += sum(losses) / len(losses) / 2
    loss = RadDpo(replace(PLAIN, listwise=listwise))(make_candidates(log_probs)).value
    assert loss.item() == pytest.approx(total, abs=1e-12)


def test_without_mlgc_every_pair_stands_by_itself() -> None:
    log_probs = make_log_probs()
    total = 0.0
    for session in range(2):
        r = rewards(log_probs, session, 2.0)
        losses = [-math.log(sigmoid(r[p] - r[n])) for p, negatives in pairs_of(session) for n in negatives]
        total += sum(losses) / len(losses) / 2
    loss = RadDpo(replace(PLAIN, mlgc=False))(make_candidates(log_probs)).value
    assert loss.item() == pytest.approx(total, abs=1e-12)


def test_global_sft_is_added_with_its_weight() -> None:
    candidates = make_candidates(make_log_probs())
    preference = RadDpo(PLAIN)(candidates).value
    both = RadDpo(replace(PLAIN, sft_weight=0.7))(candidates).value
    sft = Sft(SftSettings())(candidates).value
    assert both.item() == pytest.approx((preference + 0.7 * sft).item(), abs=1e-12)


@pytest.mark.parametrize("listwise", ["published", "calibrated"])
def test_gradients_are_those_of_finite_differences(listwise: str) -> None:
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


def test_shared_codes_count_from_the_front_only() -> None:
    a = torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    b = torch.tensor([[1, 0, 3], [1, 2, 3], [0, 2, 3]])
    assert common_prefix(a, b).tolist() == [[True, False, False], [True] * 3, [False] * 3]


def test_detached_values_are_unchanged() -> None:
    log_probs = make_log_probs()
    shared = torch.rand(log_probs.shape) < 0.5
    held = detach_shared_prefix(log_probs, shared)
    assert torch.equal(held, log_probs)
    held.sum().backward()
    assert log_probs.grad is not None
    assert torch.equal(log_probs.grad, (~shared).double())


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_permuting_the_positives_changes_nothing(name: str) -> None:
    kind = OBJECTIVES[name]
    log_probs, ends = make_log_probs().detach(), make_ends()
    order = torch.tensor([1, 0, 2, 3, 4])
    before = make_candidates(log_probs, ends, log_probs - 0.1 * make_log_probs(1).detach())
    assert before.reference is not None
    after = Candidates(
        CODES[:, order],
        PRESENT[:, order],
        P,
        Scores((), log_probs[:, order], torch.zeros(2, 4), ends[:, order]),
        Scores((), before.reference.log_probs[:, order], torch.zeros(2, 4), None),
    )
    one, other = kind(kind.Settings())(before).value, kind(kind.Settings())(after).value
    assert one.item() == pytest.approx(other.item(), abs=1e-12)


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
    for listwise in ("published", "calibrated"):
        objective = RadDpo(replace(PLAIN, listwise=listwise))
        value = objective(Candidates(CODES, nothing, P, Scores((), log_probs, torch.zeros(2, 4), None))).value
        assert value.item() == 0.0
        assert not torch.autograd.grad(value, log_probs)[0].any()


def test_weights_fall_from_one_to_a_half_between_the_quantiles() -> None:
    similarity = torch.tensor([-1.0, 0.2, 0.4, 0.6, 0.9], dtype=torch.float64)
    weights = similarity_weights(similarity, torch.tensor(0.2), torch.tensor(0.6))
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0, 0.75, 0.5, 0.5], dtype=torch.float64))


def test_equal_quantiles_give_finite_weights() -> None:
    weights = similarity_weights(torch.tensor([0.1, 0.3, 0.5]), torch.tensor(0.3), torch.tensor(0.3))
    assert weights.tolist() == [1.0, 1.0, 0.5]


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
    normal = torch.nn.functional.normalize(ends, dim=-1)
    similarity = normal[:, :P] @ normal[:, P:].transpose(1, 2)
    newest = similarity[candidates.pairs()]
    window = remembered.clone()
    window[-1], window[: n_pairs - 1] = newest[0], newest[1:]
    assert torch.equal(objective.similarities, window)
    lower, upper = (float(torch.quantile(window, q)) for q in (0.2, 0.8))
    total = 0.0
    for session in range(2):
        r = rewards(log_probs, session, settings.beta)
        losses = []
        for p, negatives in pairs_of(session):
            weight = {
                n: 1 - 0.5 * min(max((float(similarity[session, p, n - P]) - lower) / (upper - lower), 0), 1)
                for n in negatives
            }
            z = math.log(sum(math.exp(weight[n] * (r[p] - r[n])) for n in negatives))
            losses.append(-math.log(sigmoid(z)))
        total += sum(losses) / len(losses) / 2
    assert value == pytest.approx(total, abs=1e-6)


def test_similarities_are_part_of_the_saved_state() -> None:
    objective = RadDpo(RadDpoSettings())
    objective(make_candidates(make_log_probs(), make_ends()))
    restored = RadDpo(RadDpoSettings())
    restored.load_state_dict(objective.state_dict())
    assert restored.seen.item() == 7
    assert torch.equal(restored.similarities, objective.similarities)


def test_rdrw_without_ends_and_dpo_without_a_reference_say_what_is_missing() -> None:
    candidates = make_candidates(make_log_probs())
    with pytest.raises(ValueError, match="with_ends=True"):
        RadDpo(RadDpoSettings())(candidates)
    with pytest.raises(ValueError, match="reference's scores"):
        Dpo(DpoSettings())(candidates)


def test_dpo_is_its_formula() -> None:
    log_probs, reference = make_log_probs(), make_log_probs(1).detach()
    total = 0.0
    for session in range(2):
        ratio = (log_probs - reference)[session].sum(-1).tolist()
        losses = [
            -math.log(sigmoid(0.1 * (ratio[p] - ratio[n])))
            for p, negatives in pairs_of(session)
            for n in negatives
        ]
        total += sum(losses) / len(losses) / 2
    loss = Dpo(DpoSettings(beta=0.1))(make_candidates(log_probs, reference=reference))
    assert loss.value.item() == pytest.approx(total, abs=1e-12)


def test_masked_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, float("inf")], [2.0, 4.0]])
    mask = torch.tensor([[False, False], [True, True]])
    assert masked_mean(values, mask).tolist() == [0.0, 3.0]
