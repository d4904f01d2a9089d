"""One batch of random queries, what a graph answered and whether that is right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.decode.brute_force import Ranking
from benchmarks.decode.catalogues import FILTERS, Catalogue
from model_export.graph_search import DEAD
from model_export.session import Answers, GraphSession, Prompts


@dataclass(frozen=True)
class Asked:
    """B queries to a catalogue, each with a filter of its own.

    Attributes:
        catalogue: the SIDs.
        beam_width: K.
        filters: kind of each query's filter, a key of ``FILTERS``.
        allowed: bool [B, n_leaves], what each query may find.
    """

    catalogue: Catalogue
    beam_width: int
    filters: list[str]
    allowed: NDArray[np.bool_]

    @classmethod
    def draw(
        cls, catalogue: Catalogue, beam_width: int, batch_size: int, rng: np.random.Generator
    ) -> "Asked":
        """Draw a filter for every query."""
        filters = [str(kind) for kind in rng.choice(list(FILTERS), batch_size)]
        allowed = np.stack([FILTERS[kind](catalogue.sids, rng) for kind in filters])
        return cls(catalogue, beam_width, filters, allowed)

    def search(self, session: GraphSession, prompts: Prompts, rng: np.random.Generator) -> Answers:
        """Run the graph; the filters stand in another order than the queries."""
        places = rng.permutation(len(prompts)).astype(np.int32)
        alive = np.empty((len(prompts), self.catalogue.trie.n_nodes), dtype=bool)
        for place, leaf_mask in zip(places, self.allowed, strict=True):
            alive[place] = self.catalogue.trie.alive(leaf_mask)
        return session.search(prompts, self.catalogue.trie, alive, places)

    def n_invalid(self, answers: Answers) -> NDArray[np.int64]:
        """Leaves found that do not exist, are filtered out or were found before: int64 [B]."""
        counts = []
        for leaves, allowed in zip(answers.leaves, self.allowed, strict=True):
            found = leaves[leaves != -1]
            distinct = np.unique(found[(found >= 0) & (found < len(allowed))])
            counts.append(len(found) - np.count_nonzero(allowed[distinct]))
        return np.asarray(counts, dtype=np.int64)

    def well_formed(self, answers: Answers) -> NDArray[np.bool_]:
        """Whether only valid leaves stand there, with their SIDs, best first, and then nothing: bool [B]."""
        filled = answers.leaves != -1
        leaves = np.where(filled, answers.leaves, 0)
        sids = np.full(answers.sids.shape, -1)
        if len(self.catalogue.sids):
            exists = (leaves >= 0) & (leaves < len(self.catalogue.sids))
            sids[filled & exists] = self.catalogue.sids[leaves[filled & exists]]
        good: NDArray[np.bool_] = (
            (self.n_invalid(answers) == 0)
            & (answers.sids == sids).all(axis=(1, 2))
            & (np.diff(answers.log_probs, axis=1) <= 0).all(axis=1)
            & ((answers.log_probs == np.float32(DEAD)) == ~filled).all(axis=1)
        )
        return good


@dataclass(frozen=True)
class Judgement:
    """What was asked, answered and expected.

    Attributes:
        judge: who judged.
        asked, answers, expected: the batch.
        exact: bool [B]; false where rounding may change the order.
        failed: bool [B].
    """

    judge: str
    asked: Asked
    answers: Answers
    expected: Ranking
    exact: NDArray[np.bool_]
    failed: NDArray[np.bool_]
