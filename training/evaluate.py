"""Measure a decoder on held-out queries: does it find the right SIDs, and are the right items on top?"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sid import OrderingWeights, Trie
from training.dataset import Dataset
from training.judged import EvaluationError, JudgedQueries, Origin
from training.metrics import (
    Interval,
    PerQuery,
    hallucination_values,
    intervals,
    item_values,
    relevant_items,
    sid_values,
)
from training.model import Decoder
from training.ordering import gather_candidates, item_features
from training.search import Track, TrieTree, constrained_search, search_queries, unconstrained_search

ITEMS_PER_QUERY = 100  # Item Recall@100 and Item MRR look no deeper


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        origin: of the queries: their split, or "judged" where they come from a file.
        beam_width: K of both searches.
        queries: those measured; each has a relevant item.
        n_without_relevant: queries left out because no item is relevant to them.
        seconds: wall time.
        values: by metric, float64 [n_queries].
        metrics: their means with 95% intervals.
    """

    origin: Origin
    beam_width: int
    queries: tuple[str, ...]
    n_without_relevant: int
    seconds: float
    values: PerQuery
    metrics: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON, without what belongs to single queries."""
        return {
            "split": self.origin,
            "beam_width": self.beam_width,
            "n_queries": len(self.queries),
            "n_without_relevant": self.n_without_relevant,
            "seconds": self.seconds,
            "metrics": {name: vars(interval) for name, interval in self.metrics.items()},
        }


def evaluate(
    decoder: Decoder,
    dataset: Dataset,
    ordering: OrderingWeights,
    judged: JudgedQueries,
    beam_width: int,
    *,
    seed: int = 0,
    track: Track = list,
) -> Evaluation:
    """Search the queries and compare what is found with what is relevant.

    Args:
        decoder: the model, in evaluation mode, on the device to use.
        dataset: SIDs, items and embeddings of the queries.
        ordering: weights of the items' scores.
        judged: the queries.
        beam_width: K of the constrained search, and of the unconstrained one that shows hallucinations.
        seed: of the bootstrap.
        track: as in :func:`training.search.search_queries`; called once per search.

    Raises:
        EvaluationError: if the decoder was trained on other data.
    """
    started = time.perf_counter()
    values = per_query_values(decoder, dataset, ordering, judged.grades, beam_width, track)
    return Evaluation(
        origin=judged.origin,
        beam_width=beam_width,
        queries=tuple(judged.grades),
        n_without_relevant=judged.n_without_relevant,
        seconds=time.perf_counter() - started,
        values=values,
        metrics=intervals(values, seed),
    )


def per_query_values(
    decoder: Decoder,
    dataset: Dataset,
    ordering: OrderingWeights,
    grades: Mapping[str, Mapping[int, float]],
    beam_width: int,
    track: Track = list,
) -> PerQuery:
    """Every metric of every query; arguments as in :func:`evaluate`, with the grades of its queries.

    Returns:
        Per metric, float64 [n_queries], in the order of ``grades``.

    Raises:
        EvaluationError: if the decoder was trained on other data.
    """
    _check_fit(decoder, dataset)
    queries, relevant = list(grades), relevant_items(grades, dataset.positive_from)
    device = decoder.item_head.weight.device
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids), device)
    constrained = partial(constrained_search, decoder, trie=trie, beam_width=beam_width)
    unconstrained = partial(unconstrained_search, decoder, beam_width=beam_width)
    beams = search_queries(dataset, queries, constrained, device, track)
    free_beams = search_queries(dataset, queries, unconstrained, device, track)

    ranked_sids = {
        query: leaves[leaves >= 0].tolist() for query, leaves in zip(queries, beams.leaves, strict=True)
    }
    found = gather_candidates(item_features(decoder, dataset), dataset, queries, beams)
    ranked_items = {
        query: candidates.order(ordering, ITEMS_PER_QUERY).tolist()
        for query, candidates in zip(queries, found, strict=True)
    }
    leaf_of_item = dataset.sids.leaf_of_item()
    relevant_sids = {query: set(leaf_of_item[items].tolist()) for query, items in relevant.items()}
    return {
        **sid_values(ranked_sids, relevant_sids, beam_width),
        **item_values(ranked_items, grades, dataset.positive_from),
        **hallucination_values(free_beams.sids.numpy(), dataset.sids),
    }


def _check_fit(decoder: Decoder, dataset: Dataset) -> None:
    config = decoder.config
    shapes = {
        "codebooks": (config.codebook_sizes, dataset.sids.codebook_sizes),
        "embedding dimension": (config.embedding_dim, dataset.item_embeddings.shape[1]),
        "vocabulary size": (config.vocab_size, dataset.tokenizer.get_vocab_size()),
    }
    for name, (trained, found) in shapes.items():
        if trained != found:
            raise EvaluationError(
                f"the checkpoint was trained with {name} {trained}, {dataset.path} has {found}; "
                "name the data it was trained on or train again"
            )
