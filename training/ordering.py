"""Order the items behind the found SIDs, and tune the weights of what their scores are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from sid import ItemFeatures, OrderingWeights, Postings, QueryFeatures, Trie, best_first
from training.dataset import Dataset
from training.metrics import relevant_items
from training.model import Decoder
from training.search import Beams, Track, TrieTree, constrained_search, search_queries

UNTUNED = OrderingWeights(tau=8.0, prior=0.5, words=0.5, trigrams=0.1)
# Where the climb starts from: trust in the generated SIDs, in the vectors, in vectors and words, in all.
STARTS = (
    UNTUNED,
    OrderingWeights(tau=32.0),
    OrderingWeights(tau=64.0, prior=0.5, words=10.0, trigrams=2.0),
    OrderingWeights(tau=40.0, prior=0.5, words=10.0, trigrams=3.0, embedding=60.0),
)
FACTORS = (2.0, 0.5, 1.25, 0.8, 0.0)  # what a weight is multiplied by at each step of the climb
LEAST_GAIN = 2e-4  # of a step; smaller ones follow the noise of the valid queries
LEAST = 0.125  # what a weight of 0 becomes when it rises
DEEPEST = 100  # rank down to which an item counts as found
CONTENDERS = 3 * DEEPEST  # best candidates by each part that tuning looks at; all the others rank too low

Items = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Candidates:
    """The items that one query found and what their scores are made of, so that weights cost little to try.

    Attributes:
        items: int32 [n], item rows.
        parts: float32 [n, 6], see ``ItemFeatures.parts``.
    """

    items: Items
    parts: Floats

    def order(self, weights: OrderingWeights, k: int) -> Items:
        """The best k items: what :func:`sid.order_items` gives over the whole catalogue."""
        return self.items[best_first(self.items, self.parts @ weights.of_parts(), k)]


def item_features(decoder: Decoder, dataset: Dataset) -> ItemFeatures:
    """What a decoder's answers are ordered by."""
    vectors = item_vectors(decoder, dataset.item_embeddings)
    return ItemFeatures(vectors, dataset.item_embeddings, dataset.lexical, dataset.item_prior())


def gather_candidates(
    catalogue: ItemFeatures, dataset: Dataset, queries: Sequence[str], beams: Beams
) -> list[Candidates]:
    """Collect the items of every SID found, per query.

    Args:
        catalogue: of the decoder.
        dataset: SIDs of the items.
        queries: B texts.
        beams: what was found for them.
    """
    arrays = (beams.leaves.numpy(), beams.log_probs.numpy(), beams.query_vectors.numpy())
    found = zip(queries, *arrays, dataset.embed(queries), strict=True)
    candidates = []
    for query, leaves, log_probs, vector, embedding in found:
        filled = leaves >= 0
        postings = Postings.of_beams([dataset.sids.posting(leaf) for leaf in leaves[filled]])
        of_items = log_probs[filled][postings.beams]
        features = QueryFeatures(vector, embedding, dataset.lexical.query(query))
        parts = catalogue.parts(postings.items, of_items, features)
        candidates.append(Candidates(postings.items, parts))
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
    beam_width: int = 128,
    max_queries: int = 1000,
    seed: int = 0,
    track: Track = list,
) -> OrderingWeights:
    """Choose the weights on validation queries, by climbing from several starts.

    What is climbed is the mean of Item Recall@10, Item Recall@100, Item MRR and NDCG@10.

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
    beams = search_queries(dataset, queries, search, device, track)
    candidates = gather_candidates(item_features(decoder, dataset), dataset, queries, beams)
    return climb(judge(dict(zip(queries, candidates, strict=True)), relevance, dataset.positive_from))


def judge(
    candidates: Mapping[str, Candidates], relevance: Mapping[str, dict[int, float]], positive_from: float
) -> "list[JudgedCandidates]":
    """Lay each query's candidates and judgments side by side."""
    return [
        JudgedCandidates.of(found, relevance[query], positive_from) for query, found in candidates.items()
    ]


def climb(
    judged: "Sequence[JudgedCandidates]", names: Sequence[str] = tuple(UNTUNED.to_dict())
) -> OrderingWeights:
    """Move one weight at a time while that betters the mean quality; the best end of all starts is taken.

    Args:
        judged: by which quality is measured.
        names: the weights that may move; the others are 0.
    """
    starts = [OrderingWeights(**{name: getattr(start, name) for name in names}) for start in STARTS]

    def quality(weights: OrderingWeights) -> float:
        return float(np.mean([candidates.quality(weights) for candidates in judged]))

    best, best_quality = starts[0], quality(starts[0])
    for start in starts:
        weights, reached = start, quality(start)
        moved = True
        while moved:
            moved = False
            for name in names:
                for factor in FACTORS:
                    value = getattr(weights, name)
                    # Rounded here, not at the end, where it could undo what was reached.
                    tried = replace(weights, **{name: round((value or LEAST) * factor, 4)})
                    tried_quality = quality(tried)
                    if tried_quality > reached + LEAST_GAIN:
                        weights, reached, moved = tried, tried_quality, True
        if reached > best_quality:
            best, best_quality = weights, reached
    return best


@dataclass(frozen=True)
class JudgedCandidates:
    """Candidates of one query with the judgments, laid out so that a change of weights costs one product.

    Attributes:
        parts: float32 [n, 6], of the candidates that matter.
        judged: int64 [m], those of them that are judged.
        gains: float64 [m], their grades.
        relevant: bool [m], which of them are relevant.
        n_relevant: relevant items in all, found or not.
        ideal: DCG@10 of the best order of all judged items.
    """

    parts: Floats
    judged: NDArray[np.int64]
    gains: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    n_relevant: int
    ideal: float

    @classmethod
    def of(cls, candidates: Candidates, grades: dict[int, float], positive_from: float) -> "JudgedCandidates":
        """Find the judged items among the candidates; those that no part has near the top are left out."""
        kept = np.isin(candidates.items, list(grades))
        if len(kept) > CONTENDERS:
            best_by_part = np.argpartition(-candidates.parts, CONTENDERS, axis=0)[:CONTENDERS]
            kept[best_by_part.ravel()] = True
        else:
            kept[:] = True
        items = candidates.items[kept]
        judged = np.flatnonzero(np.isin(items, list(grades)))
        gains = np.array([grades[item] for item in items[judged].tolist()], dtype=np.float64)
        best = np.sort(np.array(list(grades.values())))[::-1][:10]
        return cls(
            parts=candidates.parts[kept],
            judged=judged,
            gains=gains,
            relevant=gains >= positive_from,
            n_relevant=sum(grade >= positive_from for grade in grades.values()),
            ideal=float((best / np.log2(np.arange(len(best)) + 2)).sum()),
        )

    def quality(self, weights: OrderingWeights) -> float:
        """Mean of Item Recall@10, Item Recall@100, Item MRR and NDCG@10, ties in favour of no judged item."""
        scores = self.parts @ weights.of_parts()
        ranks = np.array([(scores >= scores[place]).sum() for place in self.judged])
        of_relevant = ranks[self.relevant]
        recalls = ((of_relevant <= 10).sum() + (of_relevant <= DEEPEST).sum()) / self.n_relevant
        first = of_relevant.min(initial=DEEPEST + 1)
        top = ranks <= 10
        dcg = (self.gains[top] / np.log2(ranks[top] + 1)).sum()
        return float(recalls + (1 / first if first <= DEEPEST else 0.0) + dcg / self.ideal) / 4
