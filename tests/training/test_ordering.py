"""Candidates against the one implementation of ordering; tuning against trying every weight by hand."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sid import OrderingWeights, SidTable, Trie, order_items
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.ordering import PRIORS, TAUS, UNTUNED, gather_candidates, item_vectors, sample, tune
from training.search import Beams, TrieTree, constrained_search, search_queries

WEIGHTS = st.builds(OrderingWeights, st.sampled_from(TAUS), st.sampled_from(PRIORS))


@settings(deadline=None)
@given(st.integers(0, 1000), WEIGHTS, st.integers(1, 12))
def test_candidates_are_ordered_as_over_the_whole_catalogue(
    seed: int, weights: OrderingWeights, k: int
) -> None:
    rng = np.random.default_rng(seed)
    table = SidTable.from_item_codes(rng.integers(0, 3, (12, 2)), (3, 3))
    embeddings = rng.standard_normal((12, 4)).astype(np.float32)
    popularity = rng.integers(0, 3, 12).astype(np.float32)
    dataset = Dataset(Path(), [], [], popularity, embeddings, table, None, 1.0)  # type: ignore[arg-type]
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
    (candidates,) = gather_candidates(decoder, dataset, beams)
    expected = order_items(
        [table.posting(leaf) for leaf in leaves],
        log_probs,
        vector,
        item_vectors(decoder, embeddings),
        dataset.item_prior(),
        weights,
        k,
    )
    assert candidates.order(weights, k).tolist() == expected.items.tolist()


def quality(decoder: Decoder, dataset: Dataset, weights: OrderingWeights) -> float:
    """Item Recall@10 + NDCG@10 on the valid queries, in plain Python over ``order_items``."""
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids))
    search = partial(constrained_search, decoder, trie=trie, beam_width=4)
    vectors, prior = item_vectors(decoder, dataset.item_embeddings), dataset.item_prior()
    total, n_queries = 0.0, 0
    for query, grades in dataset.relevance("valid").items():
        relevant = {item for item, grade in grades.items() if grade >= dataset.positive_from}
        if not relevant:
            continue
        n_queries += 1
        beams = search_queries(dataset.tokenizer, [query], search, torch.device("cpu"))
        postings = [dataset.sids.posting(leaf) for leaf in beams.leaves[0].tolist()]
        log_probs, vector = beams.log_probs[0].numpy(), beams.query_vectors[0].numpy()
        items = order_items(postings, log_probs, vector, vectors, prior, weights, 10).items.tolist()
        gains = [grades.get(item, 0.0) for item in items]
        dcg, ideal = (
            sum(gain / math.log2(rank + 2) for rank, gain in enumerate(some))
            for some in (gains, sorted(grades.values(), reverse=True)[:10])
        )
        total += len(relevant.intersection(items)) / len(relevant) + dcg / ideal
    return total / n_queries


def test_the_best_weights_of_the_grid_are_chosen(small_decoder: Decoder, judged_dataset: Dataset) -> None:
    chosen = tune(small_decoder, judged_dataset, beam_width=4)
    by_hand = {
        (tau, prior): quality(small_decoder, judged_dataset, OrderingWeights(tau, prior))
        for tau in TAUS
        for prior in PRIORS
    }
    assert by_hand[chosen.tau, chosen.prior] == pytest.approx(max(by_hand.values()), abs=1e-6)
    assert max(by_hand.values()) > min(by_hand.values()) + 0.01


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
