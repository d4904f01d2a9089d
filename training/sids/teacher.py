"""The teacher of pseudo-queries: which items fit a query best, exactly and without scoring every item.

What a query costs is bounded by the postings of its rarer terms, after MaxScore (Turtle and Flood, "Query
evaluation: strategies and optimizations", Information Processing & Management 31(6), 1995): items are scored
that have one of these terms or are near by their vector; if no other item can reach the best of them, they
are the answer, otherwise more terms are looked at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import faiss
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from sid import LexicalIndex

DEPTH = 10  # items that the teacher names
TRIGRAMS, COSINE = 0.2, 8.0  # weights beside that of words, as valid queries of real data like them
POSTINGS = 2**12  # per query, that are looked at first; GROWTH times more each time that they prove too few
GROWTH = 8
BLOCK_POSTINGS = 2**22  # of all queries of a block; bounds memory to some 100 MB
ROUNDING = 1e-4  # of a score; far more than float32 loses

Embeddings = NDArray[np.float32]
Rows = NDArray[np.int64]


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
        depth = min(DEPTH, self.lexical.n_items)
        best = np.empty((len(queries), depth), dtype=np.int32)
        block = BLOCK_POSTINGS // POSTINGS
        for start in range(0, len(queries), block):
            rows = slice(start, start + block)
            asked = Asked.of(self.lexical, queries[rows], embeddings[rows], self.item_embeddings, depth)
            best[rows] = self._best(asked, depth, on_queries)
        return best

    def _best(self, asked: "Asked", depth: int, on_queries: Callable[[int], None]) -> Rows:
        """Look at more and more postings until every query of a block has its answer."""
        best = np.empty((len(asked), depth), dtype=np.int64)
        pending, postings = np.arange(len(asked)), POSTINGS
        while len(pending):
            n_together = max(1, BLOCK_POSTINGS // postings)
            left = []
            for start in range(0, len(pending), n_together):
                rows = pending[start : start + n_together]
                found, proven = self._ranked(asked.take(rows), depth, postings)
                best[rows[proven]] = found
                left.append(rows[~proven])
                on_queries(int(proven.sum()))
            pending, postings = np.concatenate(left), postings * GROWTH
        return best

    def _ranked(self, asked: "Asked", depth: int, postings: int) -> tuple[Rows, NDArray[np.bool_]]:
        """Rank the items that some of the postings lead to, and those near by their vector.

        Returns:
            Item rows [n proven, depth], best first, and bool [n], the queries for which no other item can be
            better.
        """
        looked_at, unseen = self._by_term.split(asked.terms, postings)
        is_whole = unseen == 0
        partial = (looked_at @ self._by_term.weights).tocsr()
        queries = np.repeat(np.arange(len(asked)), np.diff(partial.indptr))
        top = _best_by_row(partial, depth)
        nearest = np.repeat(np.arange(len(asked)), depth)
        first = self._distinct(
            np.concatenate([queries[top], nearest]),
            np.concatenate([partial.indices[top], asked.near.ravel()]),
        )
        scores = self._scores(asked, *first)
        # Every query has the items near to it, so at least ``depth`` here; the last of these must be reached.
        reached = scores[_best_of(first[0], scores, depth)].reshape(-1, depth)[:, -1] - ROUNDING
        # What is not near by its vector is no nearer than the last of those that are.
        unseen += COSINE * asked.cosines[:, -1]
        proven = is_whole | (unseen <= reached)
        worthwhile = np.flatnonzero(proven[queries] & (partial.data + unseen[queries] >= reached[queries]))
        of_proven = proven[first[0]]
        contenders = self._distinct(
            np.concatenate([queries[worthwhile], first[0][of_proven]]),
            np.concatenate([partial.indices[worthwhile], first[1][of_proven]]),
        )
        best = _best_of(contenders[0], self._scores(asked, *contenders), depth)
        return contenders[1][best].reshape(-1, depth), proven

    def _scores(self, asked: "Asked", queries: Rows, items: Rows) -> NDArray[np.float64]:
        """The whole scores of pairs of a query and an item, float64 [n]."""
        shared = self._by_item[items].multiply(asked.terms[queries])
        cosines = np.einsum("nd,nd->n", self.item_embeddings[items], asked.embeddings[queries])
        scores: NDArray[np.float64] = np.asarray(shared.sum(axis=1), np.float64).ravel() + COSINE * cosines
        return scores

    def _distinct(self, queries: Rows, items: Rows) -> tuple[Rows, Rows]:
        """Pairs without their repeats, query by query."""
        pairs = np.unique(queries * self.lexical.n_items + items)
        return pairs // self.lexical.n_items, pairs % self.lexical.n_items

    @cached_property
    def _by_item(self) -> sp.csr_matrix:
        """What each term gives each item, [n_items, n_columns]."""
        index = self.lexical
        weights = index.weights()
        weights[index.columns % 2 == 1] *= TRIGRAMS
        by_item = sp.csr_matrix(
            (weights, index.columns.copy(), index.indptr), shape=(index.n_items, index.n_columns)
        )
        by_item.sort_indices()
        return by_item

    @cached_property
    def _by_term(self) -> "TermPostings":
        return TermPostings(self._by_item.T.tocsr())


@dataclass(frozen=True)
class Asked:
    """Some queries.

    Attributes:
        terms: how often each has a term, [n, n_columns].
        embeddings: float32 [n, d].
        near: the items nearest to each, nearest first, int64 [n, depth].
        cosines: float32 [n, depth], theirs.
    """

    terms: sp.csr_matrix
    embeddings: Embeddings
    near: Rows
    cosines: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        lexical: LexicalIndex,
        queries: Sequence[str],
        embeddings: Embeddings,
        item_embeddings: Embeddings,
        depth: int,
    ) -> "Asked":
        """Cut queries into terms and find what is near to them."""
        columns = [lexical.query(query) for query in queries]
        indptr = np.cumsum([0, *map(len, columns)])
        joined = np.concatenate([np.empty(0, np.int32), *columns])
        ones = np.ones(len(joined), np.float32)
        terms = sp.csr_matrix((ones, joined, indptr), shape=(len(queries), lexical.n_columns))
        terms.sum_duplicates()
        # To a text that nothing is known about all items are equally near.
        near = np.tile(np.arange(depth), (len(queries), 1))
        cosines = np.zeros(near.shape, np.float32)
        known = np.flatnonzero(embeddings.any(axis=1))
        if len(known):
            cosines[known], near[known] = faiss.knn(
                embeddings[known], item_embeddings, depth, metric=faiss.METRIC_INNER_PRODUCT
            )
        return cls(terms, embeddings, near, cosines)

    def __len__(self) -> int:
        return len(self.near)

    def take(self, rows: Rows) -> "Asked":
        """Some of the queries."""
        return Asked(self.terms[rows], self.embeddings[rows], self.near[rows], self.cosines[rows])


class TermPostings:
    """The items of each term.

    Attributes:
        weights: what each gives each of its items, [n_columns, n_items].
        sizes: items of each, int64 [n_columns].
        most: the most that it gives one, float64 [n_columns].
    """

    def __init__(self, weights: sp.csr_matrix) -> None:
        self.weights = weights
        self.sizes = np.diff(weights.indptr).astype(np.int64)
        self.most = weights.max(axis=1).toarray().ravel().astype(np.float64)

    def split(self, terms: sp.csr_matrix, postings: int) -> tuple[sp.csr_matrix, NDArray[np.float64]]:
        """Choose the terms of each query that say most for their size, within a number of postings.

        Args:
            terms: [n, n_columns].
            postings: at most, per query.

        Returns:
            The terms that were chosen, and the most that the others give any item: float64 [n], 0 where all
            were chosen.
        """
        queries = np.repeat(np.arange(terms.shape[0]), np.diff(terms.indptr))
        gains = self.most[terms.indices] * terms.data
        sizes = self.sizes[terms.indices]
        order = np.lexsort((sizes / gains, queries))
        spent = np.concatenate([[0], np.cumsum(sizes[order])])
        so_far = spent[1:] - spent[terms.indptr[queries]]
        chosen = np.zeros(len(sizes), dtype=np.bool_)
        chosen[order] = so_far <= postings
        unseen = np.bincount(queries, np.where(chosen, 0.0, gains), minlength=terms.shape[0])
        looked_at = terms.copy()
        looked_at.data = np.where(chosen, terms.data, np.float32(0))
        looked_at.eliminate_zeros()
        return looked_at, unseen.astype(np.float64)  # of no terms at all NumPy counts in whole numbers


def _best_by_row(scores: sp.csr_matrix, depth: int) -> Rows:
    """Places in ``scores.data`` of the ``depth`` highest of each row, in no order."""
    places = [np.empty(0, np.int64)]
    for start, end in pairwise(scores.indptr.tolist()):
        if end - start > depth:
            best = np.argpartition(scores.data[start:end], end - start - depth)[-depth:]
            places.append(start + best)
        else:
            places.append(np.arange(start, end))
    return np.concatenate(places)


def _best_of(queries: Rows, scores: NDArray[np.floating], depth: int) -> Rows:
    """Places of the ``depth`` best scores of each query, query by query, best first.

    Args:
        queries: which query each score is of, ascending.
        scores: float [n].
        depth: at most, per query.
    """
    order = np.lexsort((-scores, queries))
    starts = np.searchsorted(queries, queries)
    return order[np.arange(len(order)) - starts < depth]
