"""Laws that every objective keeps, whatever its formula: of absent candidates, of order, of missing pairs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.objectives import OBJECTIVES, Candidates, Objective
from training.objectives.base import common_prefix, masked_mean
from training.objectives.beta_dpo import BetaDpo, BetaDpoSettings
from training.objectives.rad_dpo import WINDOW, RadDpo, RadDpoSettings
from training.packing import Scores

V, L, D = 3, 3, 4  # a small codebook, so that SIDs share prefixes and are equal now and then


def rad_dpo_after_warm_up() -> RadDpo:
    objective = RadDpo(RadDpoSettings())
    objective.similarities.copy_(torch.linspace(-1, 1, WINDOW))
    objective.seen.fill_(WINDOW)
    return objective


def default(name: str) -> Callable[[], Objective[Any]]:
    return lambda: OBJECTIVES[name](OBJECTIVES[name].Settings())


MAKERS: dict[str, Callable[[], Objective[Any]]] = {
    # β-DPO draws the pairs it keeps at random: its laws hold for one draw where it keeps all.
    **{name: default(name) for name in OBJECTIVES if name != "beta-dpo"},
    "beta-dpo": lambda: BetaDpo(BetaDpoSettings(kept=1.0)),
    "rad-dpo after warm-up": rad_dpo_after_warm_up,
    "rad-dpo calibrated": lambda: RadDpo(RadDpoSettings(listwise="calibrated")),
    "rad-dpo without modules": lambda: RadDpo(RadDpoSettings(tlgd=False, rdrw=False, mlgc=False)),
}
every_objective = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
LEARN_FROM_POSITIVES = {"sft", "orpo", *(name for name in MAKERS if name.startswith("rad-dpo"))}


def make_scores(codes: Tensor, generator: torch.Generator, shift: float) -> Scores:
    """Scores with gradients at every log-probability and every distribution."""
    B, C, _ = codes.shape
    logits = [torch.randn(B, C if t else 1, V, generator=generator, dtype=torch.float64) for t in range(L)]
    distributions = [(logit + shift).log_softmax(-1) for logit in logits]
    log_probs = torch.cat(
        [rows.expand(B, C, V).gather(2, codes[..., t, None]) for t, rows in enumerate(distributions)], -1
    )
    ends = torch.randn(B, C, D, generator=generator)
    leaves = tuple(rows.detach().requires_grad_() for rows in distributions)
    return Scores(leaves, log_probs.detach().requires_grad_(), torch.zeros(B, D), ends)


def make_candidates(seed: int, B: int = 3, P: int = 2, N: int = 3) -> Candidates:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(V, (B, P + N, L), generator=generator)
    present = torch.rand(B, P + N, generator=generator) < 0.8
    policy, reference = (make_scores(codes, generator, shift) for shift in (0.0, 0.1))
    return Candidates(codes, present, P, policy, reference)


def rearranged(candidates: Candidates, order: Tensor, n_positives: int) -> Candidates:
    """The candidates at the given places, in that order; with leaves of its own."""

    def scores(old: Scores | None) -> Scores | None:
        if old is None or old.ends is None:
            return None
        distributions = tuple(
            (rows if rows.shape[1] == 1 else rows[:, order]).detach().requires_grad_()
            for rows in old.distributions
        )
        log_probs = old.log_probs[:, order].detach().requires_grad_()
        return Scores(distributions, log_probs, old.prompts, old.ends[:, order])

    policy = scores(candidates.policy)
    assert policy is not None
    return Candidates(
        candidates.codes[:, order],
        candidates.present[:, order],
        n_positives,
        policy,
        scores(candidates.reference),
    )


def judged(make: Callable[[], Objective[Any]], candidates: Candidates) -> tuple[Tensor, list[Tensor]]:
    """The loss and its gradients, at the log-probabilities and then at each level's distributions."""
    value = make()(candidates).value
    leaves = [candidates.policy.log_probs, *candidates.policy.distributions]
    gradients = torch.autograd.grad(value, leaves, materialize_grads=True)
    return value.detach(), list(gradients)


def assert_same(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]], order: Tensor) -> None:
    """The second is the first with its candidates at the places of ``order``."""
    # RDRW compares in float32.
    torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6)
    for before, after in zip(one[1], other[1], strict=True):
        expected = before if before.shape[1] == 1 else before[:, order]
        torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


def test_registry_names_every_objective() -> None:
    assert list(OBJECTIVES) == [
        *("sft", "dpo", "simpo", "orpo", "s-dpo", "cal-dpo", "beta-dpo", "tdpo", "rad-dpo"),
    ]
    for kind in OBJECTIVES.values():
        assert kind(kind.Settings()).settings == kind.Settings()


@every_objective
@given(seed=st.integers(0, 10**6), extra_positives=st.integers(0, 2), extra_negatives=st.integers(0, 2))
def test_padding_with_absent_candidates_changes_nothing(
    make: Callable[[], Objective[Any]], seed: int, extra_positives: int, extra_negatives: int
) -> None:
    P, N = 2, 3
    padded = make_candidates(seed, P=P + extra_positives, N=N + extra_negatives)
    padded.present[:, P : P + extra_positives] = False
    padded.present[:, P + extra_positives + N :] = False
    places = torch.cat([torch.arange(P), P + extra_positives + torch.arange(N)])
    bare = rearranged(padded, places, P)
    of_padded = judged(make, padded)
    assert_same(of_padded, judged(make, bare), places)
    fillers = torch.ones(padded.codes.shape[1], dtype=torch.bool).index_fill(0, places, False)
    assert not of_padded[1][0][:, fillers].any()


@every_objective
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)))
def test_permuting_the_negatives_changes_nothing(
    make: Callable[[], Objective[Any]], seed: int, order: list[int]
) -> None:
    candidates = make_candidates(seed)
    places = torch.tensor([0, 1, *(2 + place for place in order)])
    assert_same(judged(make, candidates), judged(make, rearranged(candidates, places, 2)), places)


@every_objective
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)))
def test_permuting_the_positives_changes_nothing(
    make: Callable[[], Objective[Any]], seed: int, order: list[int]
) -> None:
    candidates = make_candidates(seed, P=3, N=2)
    places = torch.tensor([*order, 3, 4])
    assert_same(judged(make, candidates), judged(make, rearranged(candidates, places, 3)), places)


@every_objective
@given(seed=st.integers(0, 10**6))
def test_a_negative_equal_to_the_positive_has_no_effect(
    make: Callable[[], Objective[Any]], seed: int
) -> None:
    candidates = make_candidates(seed, P=1, N=3)
    candidates.codes[:, 1] = candidates.codes[:, 0]
    absent = candidates.present.clone()
    absent[:, 1] = False
    value, gradients = judged(make, candidates)
    assert_same((value, gradients), judged(make, replace(candidates, present=absent)), torch.arange(4))
    assert not any(rows[:, 1].any() for rows in gradients if rows.shape[1] > 1)


@pytest.mark.parametrize("name", MAKERS)
def test_sessions_without_a_pair_have_no_preference_and_finite_gradients(name: str) -> None:
    candidates = make_candidates(0)
    candidates.present[:] = torch.tensor(
        [
            [True, True, False, False, False],  # no negative
            [False, False, True, True, True],  # no positive
            [False, False, False, False, False],
        ]
    )
    value, gradients = judged(MAKERS[name], candidates)
    if name in LEARN_FROM_POSITIVES:
        length = L if name == "orpo" else 1  # ORPO's likelihood is per code
        expected = -candidates.policy.log_probs[0, :2].sum() / 2 / 3 / length
        torch.testing.assert_close(value, expected.detach())
        assert not gradients[0][:, 2:].any()
    else:
        assert value.item() == 0.0
        assert not any(rows.any() for rows in gradients)
    assert all(rows.isfinite().all() for rows in gradients)


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "beta-dpo"])
def test_a_batch_is_the_mean_of_its_sessions(name: str) -> None:
    whole = make_candidates(1)
    assert whole.reference is not None
    values = []
    for session in range(3):
        policy, reference = (
            Scores(
                tuple(rows[session, None] for rows in scores.distributions),
                scores.log_probs[session, None],
                scores.prompts[session, None],
                scores.ends[session, None] if scores.ends is not None else None,
            )
            for scores in (whole.policy, whole.reference)
        )
        alone = Candidates(whole.codes[session, None], whole.present[session, None], 2, policy, reference)
        values.append(MAKERS[name]()(alone).value)
    mean = torch.stack(values).mean()
    # The batch's own similarities have moved RDRW's quantiles a little.
    torch.testing.assert_close(MAKERS[name]()(whole).value, mean, rtol=0, atol=1e-3)


@every_objective
def test_certain_candidates_give_finite_gradients(make: Callable[[], Objective[Any]]) -> None:
    candidates = make_candidates(2)
    with torch.no_grad():
        candidates.policy.log_probs[:, ::2] = 0.0
        candidates.policy.log_probs[:, 1::2] = -200.0
    value, gradients = judged(make, candidates)
    assert value.isfinite()
    assert all(rows.isfinite().all() for rows in gradients)


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if kind.uses_reference])
def test_a_missing_reference_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="give the reference's scores"):
        default(name)()(replace(make_candidates(0), reference=None))


def test_shared_codes_count_from_the_front_only() -> None:
    a = torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3]])
    b = torch.tensor([[1, 0, 3], [1, 2, 3], [0, 2, 3]])
    assert common_prefix(a, b).tolist() == [[True, False, False], [True] * 3, [False] * 3]


def test_masked_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, float("inf")], [2.0, 4.0]])
    mask = torch.tensor([[False, False], [True, True]])
    assert masked_mean(values, mask).tolist() == [0.0, 3.0]
