"""What a decoder is taught: which prompts, which items they should lead to, which they should not.

SFT learns from titles, from pseudo-queries cut out of titles, and from the queries of sessions; preference
objectives learn from sessions that have both positives and negatives.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from sid import RadsearchError
from training.dataset import Dataset, Session
from training.ragged import Ragged

PSEUDO_QUERY_WORDS = 4  # most words that are cut out of a title


class TaskError(RadsearchError):
    """The data has nothing that the objective could learn from."""


@dataclass(frozen=True)
class Examples:
    """Prompts with the items they should lead to.

    Attributes:
        prompts: token ids, ``[BOS] text [SEP]``.
        positives: item rows.
        negatives: item rows; empty where an example has none.
        relevant: item rows known to be relevant to the prompt's text, the positives among them.
    """

    prompts: Ragged
    positives: Ragged
    negatives: Ragged
    relevant: Ragged

    @classmethod
    def concatenate(cls, parts: "list[Examples]") -> "Examples":
        """Put several sets of examples after one another."""
        return cls(
            Ragged.concatenate([part.prompts for part in parts]),
            Ragged.concatenate([part.positives for part in parts]),
            Ragged.concatenate([part.negatives for part in parts]),
            Ragged.concatenate([part.relevant for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.prompts)


class Tasks(Protocol):
    """Makes the examples of an epoch."""

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Draw one epoch's examples; always equally many."""


class SupervisedTasks:
    """Title → SID, pseudo-query → SID and session query → SID, one of each per title or session."""

    def __init__(self, dataset: Dataset) -> None:
        self._tokenizer = unpadded(dataset.tokenizer)
        self._words = [title.split() for title in dataset.titles]
        titles = tokenize(self._tokenizer, dataset.titles)
        itself = Ragged.of([[item] for item in range(dataset.n_items)])
        self._titles = Examples(titles, itself, Ragged.empty(dataset.n_items), itself)
        sessions = session_examples(self._tokenizer, dataset.sessions("train"))
        # Nothing is learnt from negatives here, and every candidate costs time.
        self._sessions = replace(sessions, negatives=Ragged.empty(len(sessions)))

    def epoch(self, rng: np.random.Generator) -> Examples:
        """Titles and sessions as they are, pseudo-queries cut anew."""
        cuts = tokenize(self._tokenizer, (pseudo_query(words, rng) for words in self._words))
        of_title = self._titles
        return Examples.concatenate([of_title, replace(of_title, prompts=cuts), self._sessions])


class PreferenceTask:
    """Session query → positives before negatives."""

    def __init__(self, dataset: Dataset) -> None:
        sessions = [session for session in dataset.sessions("train") if len(session.negatives)]
        if not sessions:
            raise TaskError(
                f"{dataset.path} has no training session with negatives; give sessions with negatives to "
                "'radsearch prepare', or train with --objective sft"
            )
        self._sessions = session_examples(unpadded(dataset.tokenizer), sessions)

    def epoch(self, rng: np.random.Generator) -> Examples:
        """All sessions that have a negative."""
        return self._sessions


def session_examples(tokenizer: Tokenizer, sessions: list[Session]) -> Examples:
    """One example per session; what any session of the same query chose counts as relevant."""
    chosen: dict[str, set[int]] = {}
    for session in sessions:
        chosen.setdefault(session.query, set()).update(session.positives.tolist())
    queries = list(chosen)
    number = {query: index for index, query in enumerate(queries)}
    of_session = np.array([number[session.query] for session in sessions], dtype=np.int64)
    return Examples(
        tokenize(tokenizer, queries).take(of_session),
        Ragged.of([session.positives for session in sessions]),
        Ragged.of([session.negatives for session in sessions]),
        Ragged.of([sorted(chosen[query]) for query in queries]).take(of_session),
    )


def pseudo_query(words: list[str], rng: np.random.Generator) -> str:
    """Cut a query out of a title: some of its words, in their order."""
    n_kept = rng.integers(1, max(1, min(len(words), PSEUDO_QUERY_WORDS)) + 1)
    kept = np.sort(rng.permutation(len(words))[:n_kept])
    return " ".join(words[index] for index in kept)


def unpadded(tokenizer: Tokenizer) -> Tokenizer:
    """Copy a tokenizer without its padding."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    return copy


def tokenize(tokenizer: Tokenizer, texts: Iterable[str]) -> Ragged:
    """Turn texts into prompts."""
    return Ragged.of([encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))])
