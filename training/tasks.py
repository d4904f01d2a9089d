"""What a decoder is taught: which prompts, which items they should lead to, which they should not.

SFT learns from titles, from pseudo-queries with the items a teacher finds for them, and from the queries of
sessions; preference objectives learn from sessions that have both positives and negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sid import RadsearchError
from training.dataset import Dataset, Session
from training.ragged import Ragged

SESSIONS = 0.25  # least share of sessions in an epoch of SFT: their queries are the only real ones
TOKENIZED = 10_000  # texts at a time


class TaskError(RadsearchError):
    """The data has nothing that the objective could learn from."""


@dataclass(frozen=True)
class Examples:
    """Prompts with the items they should lead to.

    Attributes:
        prompts: token ids, ``[BOS] text [SEP]``.
        embeddings: of the texts, as row numbers of :attr:`Tasks.embeddings`, int64 [n].
        positives: item rows.
        negatives: item rows; empty where an example has none.
        relevant: item rows known to be relevant to the prompt's text, the positives among them.
    """

    prompts: Ragged
    embeddings: NDArray[np.int64]
    positives: Ragged
    negatives: Ragged
    relevant: Ragged

    @classmethod
    def concatenate(cls, parts: "list[Examples]") -> "Examples":
        """Put several sets of examples after one another."""
        return cls(
            Ragged.concatenate([part.prompts for part in parts]),
            np.concatenate([part.embeddings for part in parts]),
            Ragged.concatenate([part.positives for part in parts]),
            Ragged.concatenate([part.negatives for part in parts]),
            Ragged.concatenate([part.relevant for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: NDArray[np.int64]) -> "Examples":
        """Keep the named examples, in the order named."""
        return Examples(
            self.prompts.take(rows),
            self.embeddings[rows],
            self.positives.take(rows),
            self.negatives.take(rows),
            self.relevant.take(rows),
        )


class Tasks(Protocol):
    """Makes the examples of an epoch.

    Attributes:
        embeddings: of all texts that examples are made from, float32 [n_texts, d].
    """

    embeddings: NDArray[np.float32]

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Draw one epoch's examples; always equally many."""


class SupervisedTasks:
    """Title → SID, pseudo-query → SIDs and session query → SIDs."""

    def __init__(self, dataset: Dataset) -> None:
        tokenizer, pseudo = unpadded(dataset.tokenizer), dataset.pseudo_queries()
        self.embeddings = np.concatenate(
            [dataset.item_embeddings, pseudo.embeddings, dataset.query_embeddings]
        )
        n_items, n_pseudo = dataset.n_items, len(pseudo.texts)
        itself = Ragged.of_table(np.arange(n_items)[:, None])
        named = Ragged.of_table(pseudo.items)
        titles = Examples(
            tokenize(tokenizer, dataset.titles), np.arange(n_items), itself, Ragged.empty(n_items), itself
        )
        cuts = Examples(
            tokenize(tokenizer, pseudo.texts),
            n_items + np.arange(n_pseudo),
            named,
            Ragged.empty(n_pseudo),
            named,
        )
        sessions = session_examples(dataset, dataset.sessions("train"))
        # Nothing is learnt from negatives here, and every candidate costs time.
        self._sessions = replace(
            sessions,
            embeddings=n_items + n_pseudo + sessions.embeddings,
            negatives=Ragged.empty(len(sessions)),
        )
        self._texts = Examples.concatenate([titles, cuts])

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Titles and pseudo-queries once, sessions as often as makes them a share of ``SESSIONS``."""
        n_sessions = len(self._sessions)
        if not n_sessions:
            return self._texts
        wanted = max(n_sessions, round(len(self._texts) * SESSIONS / (1 - SESSIONS)))
        rounds = [rng.permutation(n_sessions) for _ in range(-(-wanted // n_sessions))]
        return Examples.concatenate([self._texts, self._sessions.take(np.concatenate(rounds)[:wanted])])


class PreferenceTask:
    """Session query → positives before negatives."""

    def __init__(self, dataset: Dataset) -> None:
        sessions = [session for session in dataset.sessions("train") if len(session.negatives)]
        if not sessions:
            raise TaskError(
                f"{dataset.path} has no training session with negatives; give sessions with negatives to "
                "'radsearch prepare', or train with --objective sft"
            )
        self._sessions = session_examples(dataset, sessions)
        self.embeddings = dataset.query_embeddings

    def epoch(self, rng: np.random.Generator) -> Examples:
        """All sessions that have a negative."""
        return self._sessions


def session_examples(dataset: Dataset, sessions: list[Session]) -> Examples:
    """One example per session; what any session of the same query chose counts as relevant.

    ``embeddings`` are rows of ``dataset.query_embeddings``.
    """
    chosen: dict[str, set[int]] = {}
    for session in sessions:
        chosen.setdefault(session.query, set()).update(session.positives.tolist())
    queries = list(chosen)
    number = {query: index for index, query in enumerate(queries)}
    of_session = np.array([number[session.query] for session in sessions], dtype=np.int64)
    rows = np.array([dataset.query_rows[query] for query in queries], dtype=np.int64)
    return Examples(
        tokenize(unpadded(dataset.tokenizer), queries).take(of_session),
        rows[of_session],
        Ragged.of([session.positives for session in sessions]),
        Ragged.of([session.negatives for session in sessions]),
        Ragged.of([sorted(chosen[query]) for query in queries]).take(of_session),
    )


def unpadded(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a tokenizer without its padding."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    return copy


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Turn texts into prompts, some at a time: the library keeps a kilobyte and more for each."""
    blocks = [texts[start : start + TOKENIZED] for start in range(0, len(texts), TOKENIZED)]
    encoded = (tokenizer.encode_batch_fast(block) for block in blocks)
    prompts = [Ragged.of([encoding.ids for encoding in encodings]) for encodings in encoded]
    return Ragged.concatenate([Ragged.empty(0), *prompts])
