"""Retrieval without training on sessions: what a decoder has to beat."""

from collections.abc import Iterator, Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from sid.lexical import singulars_of

Rankings = dict[str, list[int]]  # query → item rows, best first

BLOCK = 256  # queries scored at once against all items


def rank_by_bm25(texts: Sequence[str], queries: Sequence[str], depth: int) -> Rankings:
    """Rank items by BM25 (Lucene's, k1 = 1.5, b = 0.75) of their words in the singular; no stop words.

    Args:
        texts: one per item row.
        queries: what to ask.
        depth: items per query at most; an item that shares no word with the query is never found.

    Returns:
        query → item rows, best first, ties by row.
    """
    ranked: Rankings = {}
    for query, scores in zip(queries, bm25_scores(texts, queries), strict=True):
        found = np.flatnonzero(scores > 0)
        ranked[query] = found[np.argsort(-scores[found], kind="stable")[:depth]].tolist()
    return ranked


def bm25_scores(texts: Sequence[str], queries: Sequence[str]) -> Iterator[NDArray[np.float32]]:
    """Score all items for one query after the other, float32 [n_items]; arguments as above."""
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index([singulars_of(text) for text in texts], show_progress=False)
    for query in queries:
        words = [word for word in singulars_of(query) if word in index.vocab_dict]
        yield index.get_scores(words) if words else np.zeros(len(texts), np.float32)


def rank_by_cosine(
    item_embeddings: NDArray[np.float32],
    query_embeddings: NDArray[np.float32],
    queries: Sequence[str],
    depth: int,
) -> Rankings:
    """Rank items by the cosine of their embedding and the query's.

    Args:
        item_embeddings: float32 [n_items, d], unit rows.
        query_embeddings: float32 [n_queries, d], unit rows.
        queries: the text of each query.
        depth: items per query at most.

    Returns:
        query → item rows, best first, ties by row.
    """
    ranked: Rankings = {}
    for start in range(0, len(queries), BLOCK):
        cosines = query_embeddings[start : start + BLOCK] @ item_embeddings.T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :depth]
        ranked.update(zip(queries[start : start + BLOCK], best.tolist(), strict=True))
    return ranked


def rank_by_fusion(
    texts: Sequence[str],
    item_embeddings: NDArray[np.float32],
    query_embeddings: NDArray[np.float32],
    queries: Sequence[str],
    depth: int,
    cosine_weights: Sequence[float],
) -> dict[float, Rankings]:
    """Rank items by BM25 + weight · cosine, once for each weight; arguments as above.

    Returns:
        weight → query → item rows, best first, ties by row.
    """
    ranked: dict[float, Rankings] = {weight: {} for weight in cosine_weights}
    scored = zip(queries, bm25_scores(texts, queries), query_embeddings, strict=True)
    for query, lexical, embedding in scored:
        cosines = item_embeddings @ embedding
        for weight, of_weight in ranked.items():
            scores = lexical + weight * cosines
            best = np.argpartition(-scores, min(depth, len(scores)) - 1)[:depth]
            of_weight[query] = best[np.lexsort((best, -scores[best]))].tolist()
    return ranked
