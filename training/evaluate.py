"""Measure a decoder on held-out queries: does it find the right SIDs, and are the right items on top?"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sid import OrderingWeights, RadsearchError, Trie
from training.data.splits import Split
from training.dataset import Dataset
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
from training.ordering import gather_candidates, item_features, sample
from training.search import Track, TrieTree, constrained_search, search_queries, unconstrained_search

ITEMS_PER_QUERY = 100  # Item Recall@100 and Item MRR look no deeper


class EvaluationError(RadsearchError):
    """A checkpoint and a data directory that cannot be judged together."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        split: the queries' split.
        beam_width: K of both searches.
        n_queries: queries measured; each has a relevant item.
        n_without_relevant: queries of the split left out because no item is relevant to them.
        seconds: wall time.
        metrics: by name, means over queries with 95% intervals.
    """

    split: Split
    beam_width: int
    n_queries: int
    n_without_relevant: int
    seconds: float
    metrics: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class JudgedQueries:
    """Queries with a relevant item.

    Attributes:
        grades: query → {item row: grade}.
        n_without_relevant: queries of the split that have none.
    """

    grades: dict[str, dict[int, float]]
    n_without_relevant: int


def evaluate(
    decoder: Decoder,
    dataset: Dataset,
    ordering: OrderingWeights,
    split: Split,
    beam_width: int,
    *,
    max_queries: int | None = None,
    seed: int = 0,
    track: Track = list,
) -> Evaluation:
    """Search the queries of a split and compare what is found with what is relevant.

    Args:
        decoder: the model, in evaluation mode, on the device to use.
        dataset: SIDs, items and judgments.
        ordering: weights of the items' scores.
        split: which queries.
        beam_width: K of the constrained search, and of the unconstrained one that shows hallucinations.
        max_queries: how many queries at most, drawn by ``seed``; None for all.
        seed: of the draw and of the bootstrap.
        track: as in :func:`training.search.search_queries`; called once per search.

    Raises:
        EvaluationError: if the decoder was trained on other data, or no query has a relevant item.
    """
    started = time.perf_counter()
    judged = judged_queries(dataset, split, max_queries, seed)
    values = per_query_values(decoder, dataset, ordering, judged.grades, beam_width, track)
    return Evaluation(
        split=split,
        beam_width=beam_width,
        n_queries=len(judged.grades),
        n_without_relevant=judged.n_without_relevant,
        seconds=time.perf_counter() - started,
        metrics=intervals(values, seed),
    )


def judged_queries(
    dataset: Dataset, split: Split, max_queries: int | None = None, seed: int = 0
) -> JudgedQueries:
    """Take the queries of a split that can be judged, all of them or a sample; arguments as above.

    Raises:
        EvaluationError: if no query has a relevant item.
    """
    grades = dataset.relevance(split)
    relevant = relevant_items(grades, dataset.positive_from)
    if not relevant:
        raise EvaluationError(
            f"{dataset.path} has no {split} query with a relevant item; try another --split"
        )
    queries = sample(list(relevant), max_queries, seed)
    return JudgedQueries({query: grades[query] for query in queries}, len(grades) - len(relevant))


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
