"""Retrieval without training on sessions: what a decoder has to beat."""

from collections.abc import Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from sid.tfidf import words_of

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
    index = bm25s.BM25(k1=1.5, b=0.75, method="lucene")
    index.index([_singulars(text) for text in texts], show_progress=False)
    ranked: Rankings = {}
    for query in queries:
        words = [word for word in _singulars(query) if word in index.vocab_dict]
        scores = index.get_scores(words) if words else np.zeros(len(texts), np.float32)
        found = np.flatnonzero(scores > 0)
        ranked[query] = found[np.argsort(-scores[found], kind="stable")[:depth]].tolist()
    return ranked


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


def _singulars(text: str) -> list[str]:
    return [_singular(word) for word in words_of(text)]


def _singular(word: str) -> str:
    """The S-stemmer of Harman, "How effective is suffixing?", JASIS 42(1), 1991: the first rule that fits."""
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")):
        return word[:-1]
    return word
