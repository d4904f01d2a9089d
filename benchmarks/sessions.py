"""The sessions that two training loops are compared on: packed for ours, as pairs for others'."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sid import RadsearchError
from training.data.prepare import PrepareSettings, prepare
from training.data.splits import Split
from training.dataset import Dataset, Session
from training.model import DecoderConfig
from training.shop.shop import ShopSettings, write_shop
from training.sids.build import SidSettings, build_sids


class SessionsError(RadsearchError):
    """Data that has too few sessions to measure with."""


@dataclass(frozen=True)
class FewSessions(Dataset):
    """A dataset with these training sessions only."""

    chosen: tuple[Session, ...]

    def sessions(self, split: Split) -> list[Session]:
        """As in :class:`Dataset`."""
        return list(self.chosen) if split == "train" else super().sessions(split)


@dataclass(frozen=True)
class Pair:
    """A positive and a negative of a session, with the prompt.

    Attributes:
        prompt: token ids, ``[BOS] query [SEP]``.
        chosen, rejected: SIDs as token ids: each level's codes follow the vocabulary and the levels before.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def choose_sessions(
    dataset: Dataset, n: int, max_positives: int, max_negatives: int, seed: int
) -> FewSessions:
    """Draw n training sessions that have a negative, and of each no more candidates than a step takes.

    Raises:
        SessionsError: if there are too few.
    """
    able = [session for session in dataset.sessions("train") if len(session.negatives)]
    if len(able) < n:
        raise SessionsError(
            f"{dataset.path} has {len(able):,} training sessions with negatives; give --sessions {len(able)}"
        )
    rng = np.random.default_rng(seed)

    def cut(session: Session) -> Session:
        positives, negatives = rng.permutation(session.positives), rng.permutation(session.negatives)
        return Session(session.query, positives[:max_positives], negatives[:max_negatives])

    chosen = tuple(cut(able[row]) for row in rng.choice(len(able), n, replace=False))
    return FewSessions(
        **{field.name: getattr(dataset, field.name) for field in fields(dataset)}, chosen=chosen
    )


def make_pairs(dataset: FewSessions, config: DecoderConfig) -> list[Pair]:
    """Every positive with every negative of its session, but for those that share their SID."""
    sids = dataset.sids.codes[dataset.sids.leaf_of_item()].astype(np.int64)
    starts = config.vocab_size + np.cumsum([0, *config.codebook_sizes[:-1]])
    tokens = (sids + starts).tolist()
    return [
        Pair(dataset.tokenizer.encode(session.query).ids, tokens[positive], tokens[negative])
        for session in dataset.chosen
        for positive in session.positives
        for negative in session.negatives
        if tokens[positive] != tokens[negative]
    ]


def packed_tokens(dataset: FewSessions, config: DecoderConfig) -> int:
    """Tokens that our decoder reads: a prompt per session, and each candidate's codes but the last."""
    return sum(
        len(dataset.tokenizer.encode(session.query).ids)
        + (config.levels - 1) * (len(session.positives) + len(session.negatives))
        for session in dataset.chosen
    )


def build_shop(directory: Path, n_items: int, seed: int) -> Path:
    """Make the data directory of a synthetic shop.

    Args:
        directory: where to put shop and data.
        n_items: in the shop.
        seed: of everything random.

    Returns:
        The data directory, with SIDs.
    """
    shop, data = directory / "shop", directory / "data"
    write_shop(shop, ShopSettings(n_items, seed))
    prepare(shop / "items.jsonl", shop / "sessions.jsonl", None, data, PrepareSettings())
    build_sids(data, SidSettings(seed=seed), Progress(disable=True))
    return data
