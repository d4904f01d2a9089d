"""Order the items behind the found SIDs, and tune the weights of what their scores are made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from sid import OrderingWeights, Trie, order_items
from training.dataset import Dataset
from training.metrics import item_values, relevant_items
from training.model import Decoder
from training.search import Beams, Track, TrieTree, constrained_search, search_queries

UNTUNED = OrderingWeights(tau=8.0, prior=0.5)
TAUS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
PRIORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
DEPTH = 10  # of the two metrics that are tuned for

Items = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The items that one query found and what their scores are made of, so that weights cost little to try.

    Attributes:
        items: int32 [n], item rows, ascending.
        postings: per beam, positions in ``items``.
        log_probs: float32 [n_beams], of the beams' SIDs.
        cosines: float32 [n, 1], query vector · item vector.
        prior: float32 [n].
    """

    items: Items
    postings: list[Items]
    log_probs: Floats
    cosines: Floats
    prior: Floats

    def order(self, weights: OrderingWeights, k: int) -> Items:
        """The best k items: what :func:`sid.order_items` gives over the whole catalogue."""
        one = np.ones(1, dtype=np.float32)  # the cosine stands as a product of vectors of length 1
        ranked = order_items(self.postings, self.log_probs, one, self.cosines, self.prior, weights, k)
        return self.items[ranked.items]


def gather_candidates(decoder: Decoder, dataset: Dataset, beams: Beams) -> list[Candidates]:
    """Collect the items of every SID found, per query."""
    vectors, prior = item_vectors(decoder, dataset.item_embeddings), dataset.item_prior()
    found = zip(beams.leaves.numpy(), beams.log_probs.numpy(), beams.query_vectors.numpy(), strict=True)
    candidates = []
    for leaves, log_probs, query_vector in found:
        filled = leaves >= 0
        postings = [dataset.sids.posting(leaf) for leaf in leaves[filled]]
        items = np.sort(np.concatenate(postings))
        positions = [np.searchsorted(items, posting).astype(np.int32) for posting in postings]
        cosines = vectors[items] @ query_vector[:, None]
        candidates.append(Candidates(items, positions, log_probs[filled], cosines, prior[items]))
    return candidates


@torch.inference_mode()
def item_vectors(decoder: Decoder, embeddings: Floats) -> Floats:
    """Unit vectors that query vectors are compared with, float32 [n_items, vector_dim]."""
    weight = decoder.item_head.weight
    return decoder.item_vectors(torch.from_numpy(embeddings).to(weight)).cpu().numpy()


def sample(queries: Sequence[str], at_most: int | None, seed: int) -> list[str]:
    """Draw queries, keeping their order; all of them when there are no more than ``at_most``."""
    if at_most is None or len(queries) <= at_most:
        return list(queries)
    chosen = np.random.default_rng(seed).choice(len(queries), at_most, replace=False)
    return [queries[index] for index in sorted(chosen)]


def tune(
    decoder: Decoder,
    dataset: Dataset,
    *,
    beam_width: int = 64,
    max_queries: int = 500,
    seed: int = 0,
    track: Track = list,
) -> OrderingWeights:
    """Choose the weights with the best Item Recall@10 + NDCG@10 on validation queries; of equals the smaller.

    Args:
        decoder: the model, in evaluation mode.
        dataset: its ``valid`` split is used; where no query of it has a relevant item, the result is
            :data:`UNTUNED`.
        beam_width: K.
        max_queries: how many queries at most, drawn by ``seed``.
        seed: of the draw.
        track: as in :func:`training.search.search_queries`.
    """
    relevance = dataset.relevance("valid")
    queries = sample(list(relevant_items(relevance, dataset.positive_from)), max_queries, seed)
    if not queries:
        return UNTUNED
    device = decoder.item_head.weight.device
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids), device)
    search = partial(constrained_search, decoder, trie=trie, beam_width=beam_width)
    beams = search_queries(dataset.tokenizer, queries, search, device, track)
    candidates = dict(zip(queries, gather_candidates(decoder, dataset, beams), strict=True))
    relevance = {query: relevance[query] for query in queries}

    def quality(weights: OrderingWeights) -> float:
        ranked = {query: found.order(weights, DEPTH).tolist() for query, found in candidates.items()}
        values = item_values(ranked, relevance, dataset.positive_from)
        return float(values["Item Recall@10"].mean() + values["NDCG@10"].mean())

    return max((OrderingWeights(tau, prior) for tau, prior in product(TAUS, PRIORS)), key=quality)
