"""Pseudo-queries: words cut out of titles, with the items that a teacher finds for them.

A shop has far fewer queries than items, so a decoder meets most items only in their titles. A pseudo-query
reads like a query, and its teacher, BM25 plus the cosine of the embeddings, names more items for it than the
one whose title it was cut from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from sid import LexicalIndex

WORDS = 4  # most words of a pseudo-query
DEPTH = 10  # items that the teacher names
TRIGRAMS, COSINE = 0.2, 8.0  # weights beside that of words, as valid queries of real data like them
BLOCK_ELEMENTS = 2**24  # of the scores of all items for a block of queries; 64 MiB

Embeddings = NDArray[np.float32]


def cut_pseudo_queries(titles: Sequence[str], per_title: int, rng: np.random.Generator) -> list[str]:
    """Cut some pseudo-queries out of every title; all titles once, then all once more."""
    words = [title.split() for title in titles]
    return [pseudo_query(of_title, rng) for _ in range(per_title) for of_title in words]


def pseudo_query(words: list[str], rng: np.random.Generator) -> str:
    """Cut a query out of a title: some of its words, in their order."""
    n_kept = rng.integers(1, max(1, min(len(words), WORDS)) + 1)
    kept = np.sort(rng.permutation(len(words))[:n_kept])
    return " ".join(words[index] for index in kept)


@dataclass(frozen=True)
class Teacher:
    """Ranks all items for a query by BM25 of words + ``TRIGRAMS`` · BM25 of trigrams + ``COSINE`` · cosine.

    Attributes:
        lexical: over the items.
        item_embeddings: float32 [n_items, d], unit rows.
    """

    lexical: LexicalIndex
    item_embeddings: Embeddings

    def best(
        self, queries: Sequence[str], embeddings: Embeddings, on_queries: Callable[[int], None]
    ) -> NDArray[np.int32]:
        """Name the best items of each query.

        Args:
            queries: n texts.
            embeddings: float32 [n, d], theirs.
            on_queries: called with the number of queries that were just ranked.

        Returns:
            int32 [n, DEPTH], item rows, best first; fewer columns where there are fewer items.
        """
        lexical, items = self.lexical, torch.from_numpy(self.item_embeddings).T
        n_items, n_columns = lexical.n_items, lexical.n_columns
        depth = min(DEPTH, n_items)
        by_term = sp.csr_matrix(
            (lexical.weights(), lexical.columns, lexical.indptr), shape=(n_items, n_columns)
        ).T.tocsr()
        best = np.empty((len(queries), depth), dtype=np.int32)
        block = max(1, BLOCK_ELEMENTS // n_items)
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            terms = [lexical.query(query) for query in queries[rows]]
            indptr = np.cumsum([0, *map(len, terms)])
            columns = np.concatenate([np.empty(0, np.int32), *terms])
            weights = np.where(columns % 2 == 0, 1.0, TRIGRAMS).astype(np.float32)
            asked = sp.csr_matrix((weights, columns, indptr), shape=(len(terms), n_columns))
            scores = torch.from_numpy((asked @ by_term).toarray())
            scores.addmm_(torch.from_numpy(embeddings[rows]), items, alpha=COSINE)
            best[rows] = scores.topk(depth, dim=1).indices.numpy()
            on_queries(len(terms))
        return best
