"""Which sessions a trial learns from: a share of them, or ones with a known share of noise."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from training.data.splits import Split
from training.dataset import Dataset, Session

JUDGMENTS = "judgments.parquet"
N_NEGATIVES = 3  # of a session with controlled noise, as many as in the paper


@dataclass(frozen=True)
class TrialDataset(Dataset):
    """A dataset with other training sessions.

    Attributes:
        training: what stands in their place.
    """

    training: list[Session]

    @classmethod
    def of(cls, dataset: Dataset, training: list[Session]) -> "TrialDataset":
        """Keep all of a dataset but its training sessions."""
        whole = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
        return cls(**whole, training=training)

    def sessions(self, split: Split) -> list[Session]:
        """The sessions of a split."""
        return self.training if split == "train" else super().sessions(split)


@dataclass(frozen=True)
class Truth:
    """What is known of the items of one query.

    Attributes:
        relevant, irrelevant: item rows, int32, ascending.
    """

    relevant: NDArray[np.int32]
    irrelevant: NDArray[np.int32]


def with_negatives(dataset: Dataset) -> list[Session]:
    """The training sessions that preference objectives learn from."""
    return [session for session in dataset.sessions("train") if len(session.negatives)]


def share_of(sessions: list[Session], share: float, seed: int) -> list[Session]:
    """Keep a share of the sessions, at least one; for one seed a smaller share is part of a larger one."""
    n_kept = max(round(share * len(sessions)), 1)
    kept = np.random.default_rng(seed).permutation(len(sessions))[:n_kept]
    return [sessions[index] for index in np.sort(kept)]


def truths(dataset: Dataset, sessions: list[Session]) -> dict[str, Truth]:
    """What is known of the items that were judged for, or shown to, the queries of sessions.

    Relevant is what judgments grade so; irrelevant is what they grade lower, and what was shown and has no
    grade, since judgments that can serve as truth name every relevant item.
    """
    shown: dict[str, set[int]] = {}
    for session in sessions:
        shown.setdefault(session.query, set()).update(session.negatives.tolist(), session.positives.tolist())
    judged = dataset.relevance("train")
    known = {}
    for query, items in shown.items():
        grades = judged.get(query, {})
        relevant = {item for item, grade in grades.items() if grade >= dataset.positive_from}
        known[query] = Truth(_rows(relevant), _rows((items | grades.keys()) - relevant))
    return known


def with_noise(
    sessions: list[Session], known: dict[str, Truth], rate: float, seed: int
) -> tuple[list[Session], list[NDArray[np.bool_]]]:
    """Draw each session's negatives anew so that a share of them is relevant in truth.

    Sessions without enough items of either kind are left out, whatever the rate, so that all rates have the
    same sessions; at a higher rate more of the same draws are relevant.

    Args:
        sessions: to draw for.
        known: from :func:`truths`.
        rate: chance that a negative is relevant, 0..1.
        seed: of the draws.

    Returns:
        The sessions, and which of their negatives are relevant, bool [N_NEGATIVES] each.
    """
    rng = np.random.default_rng(seed)
    drawn, pseudo = [], []
    for session in sessions:
        truth = known[session.query]
        relevant = np.setdiff1d(truth.relevant, session.positives)
        irrelevant = np.setdiff1d(truth.irrelevant, session.positives)
        if min(len(relevant), len(irrelevant)) < N_NEGATIVES:
            continue
        false, true = (rng.choice(items, N_NEGATIVES, replace=False) for items in (relevant, irrelevant))
        is_pseudo = rng.random(N_NEGATIVES) < rate
        drawn.append(Session(session.query, session.positives, np.where(is_pseudo, false, true)))
        pseudo.append(is_pseudo)
    return drawn, pseudo


def has_truth(dataset: Dataset) -> bool:
    """Whether judgments name relevant items that sessions did not choose, so that noise is known."""
    if not (dataset.path / JUDGMENTS).is_file():
        return False
    sessions = with_negatives(dataset)
    return bool(with_noise(sessions, truths(dataset, sessions), 0.0, seed=0)[0])


def as_logged(sessions: list[Session], known: dict[str, Truth]) -> list[NDArray[np.bool_]]:
    """Which negatives of each session are relevant in truth."""
    return [np.isin(session.negatives, known[session.query].relevant) for session in sessions]


def _rows(items: set[int]) -> NDArray[np.int32]:
    return np.array(sorted(items), dtype=np.int32)
