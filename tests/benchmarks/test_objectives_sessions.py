"""Shares of sessions and controlled noise, against what is known of every item."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.objectives.detection import LOW_WEIGHT, Weighed, detection
from benchmarks.objectives.sessions import N_NEGATIVES, Truth, as_logged, share_of, with_noise
from training.dataset import Session


def rows(*items: int) -> np.ndarray:
    return np.array(items, dtype=np.int32)


def shop(n_sessions: int, n_queries: int = 20) -> tuple[list[Session], dict[str, Truth]]:
    """Queries with 8 relevant and 12 irrelevant items; sessions chose one or two relevant ones."""
    rng = np.random.default_rng(1)
    known = {}
    for number in range(n_queries):
        items = rng.permutation(100)[:20].astype(np.int32)
        known[f"query {number}"] = Truth(np.sort(items[:8]), np.sort(items[8:]))
    sessions = []
    for number in range(n_sessions):
        query = f"query {number % n_queries}"
        chosen = rng.choice(known[query].relevant, rng.integers(1, 3), replace=False)
        sessions.append(Session(query, chosen, known[query].irrelevant[:2]))
    return sessions, known


@given(st.integers(1, 60), st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_share_is_part_of_a_larger_one(n: int, seed: int, a: float, b: float) -> None:
    sessions, _ = shop(n)
    small, large = (share_of(sessions, share, seed) for share in sorted((a, b)))
    assert len(small) == max(round(min(a, b) * n), 1)
    assert {id(session) for session in small} <= {id(session) for session in large}
    assert share_of(sessions, 1.0, seed) == sessions
    assert [id(s) for s in share_of(sessions, a, seed)] == [id(s) for s in share_of(sessions, a, seed)]


def test_another_seed_is_another_share() -> None:
    sessions, _ = shop(40)
    first, second = ({id(s) for s in share_of(sessions, 0.5, seed)} for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.3, 0.45, 0.6, 1.0])
def test_noise_has_its_rate_and_its_flags_are_true(rate: float) -> None:
    sessions, known = shop(2000)
    noisy, pseudo = with_noise(sessions, known, rate, seed=3)
    assert len(noisy) == len(sessions)
    assert np.concatenate(pseudo).mean() == pytest.approx(rate, abs=0.02)
    for session, before, flags in zip(noisy, sessions, pseudo, strict=True):
        assert (session.query, session.positives.tolist()) == (before.query, before.positives.tolist())
        negatives = session.negatives.tolist()
        assert len(set(negatives)) == N_NEGATIVES
        assert not set(negatives) & set(session.positives.tolist())
        relevant = set(known[session.query].relevant.tolist())
        assert [item in relevant for item in negatives] == flags.tolist()
    assert [flags.tolist() for flags in as_logged(noisy, known)] == [flags.tolist() for flags in pseudo]


def test_more_noise_changes_only_what_it_adds() -> None:
    sessions, known = shop(100)
    (less, few), (more, many) = (with_noise(sessions, known, rate, seed=3) for rate in (0.2, 0.6))
    for before, after, some, others in zip(less, more, few, many, strict=True):
        assert not (some & ~others).any()
        np.testing.assert_array_equal(before.negatives[some == others], after.negatives[some == others])


def test_sessions_without_enough_known_items_are_left_out_at_every_rate() -> None:
    known = {
        "rich": Truth(rows(1, 2, 3, 4), rows(5, 6, 7)),
        "all chosen": Truth(rows(1, 2, 3), rows(5, 6, 7)),
        "nothing wrong": Truth(rows(1, 2, 3, 4), rows(5, 6)),
    }
    sessions = [Session(query, rows(1), rows(5)) for query in known]
    for rate in (0.0, 0.5, 1.0):
        assert [session.query for session in with_noise(sessions, known, rate, seed=0)[0]] == ["rich"]


@given(st.lists(st.tuples(st.floats(0.5, 1.0, width=32), st.booleans()), min_size=1, max_size=40))
def test_detection_counts_pairs_one_by_one(pairs: list[tuple[float, bool]]) -> None:
    weights, pseudo = (list(column) for column in zip(*pairs, strict=True))
    found = detection(Weighed(np.array(weights, np.float32), np.array(pseudo)))
    low = [flag for weight, flag in pairs if weight < LOW_WEIGHT]
    hits = [weight < LOW_WEIGHT for weight, flag in pairs if flag]
    assert found["share"] == pytest.approx(sum(pseudo) / len(pairs))
    assert found["flagged"] == pytest.approx(len(low) / len(pairs))
    assert found["precision"] == (pytest.approx(sum(low) / len(low)) if low else None)
    assert found["recall"] == (pytest.approx(sum(hits) / len(hits)) if hits else None)
    contests = [
        1.0 if mine < other else 0.5 if mine == other else 0.0
        for mine, flag in pairs
        for other, its_flag in pairs
        if flag and not its_flag
    ]
    assert found["auc"] == (pytest.approx(sum(contests) / len(contests)) if contests else None)
