"""Candidates against the one implementation of ordering; tuning against qualities worked out by hand."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sid import LexicalIndex, OrderingWeights, Postings, QueryFeatures, SidTable, Trie, order_items
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.ordering import (
    LEAST_GAIN,
    STARTS,
    UNTUNED,
    Candidates,
    JudgedCandidates,
    climb,
    gather_candidates,
    item_features,
    item_vectors,
    sample,
    tune,
)
from training.search import Beams, TrieTree, constrained_search, search_queries

WEIGHTS = st.builds(
    OrderingWeights, *(st.sampled_from(some) for some in ([0, 1, 8, 64], [0, 0.5, 2], [0, 1, 4], [0, 0.25]))
)
QUERY = "red lamp"


@settings(deadline=None)
@given(st.integers(0, 1000), WEIGHTS, st.integers(1, 12))
def test_candidates_are_ordered_as_over_the_whole_catalogue(
    seed: int, weights: OrderingWeights, k: int
) -> None:
    rng = np.random.default_rng(seed)
    table = SidTable.from_item_codes(rng.integers(0, 3, (12, 2)), (3, 3))
    embeddings = rng.standard_normal((12, 4)).astype(np.float32)
    popularity = rng.integers(0, 3, 12).astype(np.float32)
    embedding = rng.standard_normal(4).astype(np.float32)
    words = ["red", "lamps", "shoe", "rde"]
    lexical = LexicalIndex.from_texts([" ".join(rng.choice(words, 3)) for _ in range(12)])
    dataset = Dataset(
        path=Path(),
        item_ids=[],
        titles=[],
        popularity=popularity,
        item_embeddings=embeddings,
        sids=table,
        lexical=lexical,
        tokenizer=None,  # type: ignore[arg-type]
        positive_from=1.0,
        query_rows={QUERY: 0},
        query_embeddings=embedding[None],
    )
    decoder = Decoder(DecoderConfig(5, (3, 3), embedding_dim=4, vector_dim=3))
    n_beams = min(4, table.n_leaves)
    leaves = rng.permutation(table.n_leaves)[:n_beams]
    log_probs = np.sort(rng.integers(-5, 0, n_beams).astype(np.float32))[::-1].copy()
    vector = rng.standard_normal(3).astype(np.float32)
    beams = Beams(
        sids=torch.empty(1, 5, 2),
        log_probs=torch.tensor([[*log_probs.tolist(), *[-1e30] * (5 - n_beams)]]),
        leaves=torch.tensor([[*leaves.tolist(), *[-1] * (5 - n_beams)]]),
        query_vectors=torch.from_numpy(vector)[None],
    )
    catalogue = item_features(decoder, dataset)
    np.testing.assert_array_equal(catalogue.vectors, item_vectors(decoder, embeddings))
    np.testing.assert_array_equal(catalogue.prior, dataset.item_prior())
    (candidates,) = gather_candidates(catalogue, dataset, [QUERY], beams)
    expected = order_items(
        Postings.of_beams([table.posting(leaf) for leaf in leaves]),
        log_probs,
        QueryFeatures(vector, embedding, lexical.query(QUERY)),
        catalogue,
        weights,
        k,
    )
    assert candidates.order(weights, k).tolist() == expected.items.tolist()


def quality(ranked: dict[int, float], grades: dict[int, float], positive_from: float) -> float:
    """Mean of Item Recall@10, Item Recall@100, Item MRR and NDCG@10 of one query, in plain Python.

    Args:
        ranked: score by item; of equal scores a judged item is the last.
        grades: by judged item.
        positive_from: grade from which an item is relevant.
    """
    rank = {
        item: sum(score >= ranked[item] for score in ranked.values()) for item in grades if item in ranked
    }
    relevant = [item for item, grade in grades.items() if grade >= positive_from]
    recalls = [
        sum(item in rank and rank[item] <= depth for item in relevant) / len(relevant) for depth in (10, 100)
    ]
    first = min((rank[item] for item in relevant if item in rank), default=math.inf)
    dcg = sum(grades[item] / math.log2(at + 1) for item, at in rank.items() if at <= 10)
    ideal = sum(
        grade / math.log2(at + 2) for at, grade in enumerate(sorted(grades.values(), reverse=True)[:10])
    )
    return (sum(recalls) + (1 / first if first <= 100 else 0.0) + dcg / ideal) / 4


def tuned_quality(decoder: Decoder, dataset: Dataset, weights: OrderingWeights) -> float:
    """Mean quality on the valid queries, over ``order_items``."""
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids))
    search = partial(constrained_search, decoder, trie=trie, beam_width=4)
    catalogue, values = item_features(decoder, dataset), []
    for query, grades in dataset.relevance("valid").items():
        if max(grades.values()) < dataset.positive_from:
            continue
        beams = search_queries(dataset, [query], search, torch.device("cpu"))
        found = order_items(
            Postings.of_beams([dataset.sids.posting(leaf) for leaf in beams.leaves[0].tolist()]),
            beams.log_probs[0].numpy(),
            QueryFeatures(
                beams.query_vectors[0].numpy(), dataset.embed([query])[0], dataset.lexical.query(query)
            ),
            catalogue,
            weights,
            dataset.n_items,
        )
        ranked = dict(zip(found.items.tolist(), found.scores.tolist(), strict=True))
        values.append(quality(ranked, grades, dataset.positive_from))
    return float(np.mean(values))


def test_tuning_beats_every_start_and_every_single_step_from_its_end(
    small_decoder: Decoder, judged_dataset: Dataset
) -> None:
    chosen = tune(small_decoder, judged_dataset, beam_width=4)
    reached = tuned_quality(small_decoder, judged_dataset, chosen)
    starts = [tuned_quality(small_decoder, judged_dataset, start) for start in (UNTUNED, *STARTS)]
    assert reached >= max(starts) - 1e-9
    assert reached > min(starts) + 0.01
    for name, value in chosen.to_dict().items():
        for factor in (0.0, 0.5, 0.8, 1.25, 2.0):
            moved = replace(chosen, **{name: round(value * factor, 4)})
            assert tuned_quality(small_decoder, judged_dataset, moved) <= reached + LEAST_GAIN + 1e-6, (
                name,
                factor,
            )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 150), st.booleans())
def test_quality_is_that_of_plain_python(seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    items = rng.permutation(200)[:n].astype(np.int32)
    parts = rng.standard_normal((n, 6)).astype(np.float32)
    candidates = Candidates(items, parts.round() if ties else parts)
    judged = rng.permutation(200)[: rng.integers(1, 20)]
    grades = dict(zip(judged.tolist(), rng.integers(0, 4, len(judged)).tolist(), strict=True))
    grades[200] = 3.0  # is never found
    weights = OrderingWeights(0.5, 2.0, 1.0, 0.25, 0.75)
    scores = candidates.parts @ weights.of_parts()
    ranked = dict(zip(items.tolist(), scores.tolist(), strict=True))
    found = JudgedCandidates.of(candidates, grades, 2.0).quality(weights)
    assert found == pytest.approx(quality(ranked, grades, 2.0), abs=1e-12)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_climb_never_ends_below_its_starts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    judged = []
    for _ in range(4):
        items = np.arange(30, dtype=np.int32)
        grades = dict(zip(rng.permutation(30)[:8].tolist(), [3.0, 3, 2, 2, 1, 1, 0, 0], strict=True))
        parts = rng.standard_normal((30, 6)).astype(np.float32)
        judged.append(JudgedCandidates.of(Candidates(items, parts), grades, 2.5))

    def mean(weights: OrderingWeights) -> float:
        return float(np.mean([candidates.quality(weights) for candidates in judged]))

    assert mean(climb(judged)) >= max(map(mean, (UNTUNED, *STARTS)))


def test_without_judged_valid_queries_the_defaults_are_returned(
    small_decoder: Decoder, judged_dataset: Dataset
) -> None:
    nothing_is_that_good = replace(judged_dataset, positive_from=4.0)
    assert tune(small_decoder, nothing_is_that_good) == UNTUNED


def test_a_sample_is_seeded_ordered_and_never_larger_than_asked() -> None:
    queries = [str(number) for number in range(100)]
    chosen = sample(queries, 10, seed=1)
    assert len(set(chosen)) == 10
    assert chosen == sorted(chosen, key=int)
    assert chosen == sample(queries, 10, seed=1) != sample(queries, 10, seed=2)
    assert sample(queries, None, seed=1) == sample(queries, 100, seed=1) == queries
