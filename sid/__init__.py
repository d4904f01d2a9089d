"""The vocabulary of all rooms: SIDs, trie, quantiser, embedder, lexical index, ordering, manifest."""

from sid.errors import RadsearchError, SidError
from sid.explanation import Explanation, Pruned, Ranking, Step, explain
from sid.lexical import LexicalIndex
from sid.ordering import (
    ItemFeatures,
    OrderingWeights,
    QueryFeatures,
    RankedItems,
    best_first,
    order_items,
)
from sid.postings import Postings
from sid.quantizer import ResidualQuantizer
from sid.table import SidTable
from sid.texts import item_text
from sid.tfidf import TfidfEmbedder
from sid.trie import MOST_NODES, Trie

__all__ = [
    "MOST_NODES",
    "Explanation",
    "ItemFeatures",
    "LexicalIndex",
    "OrderingWeights",
    "Postings",
    "Pruned",
    "QueryFeatures",
    "RadsearchError",
    "RankedItems",
    "Ranking",
    "ResidualQuantizer",
    "SidError",
    "SidTable",
    "Step",
    "TfidfEmbedder",
    "Trie",
    "best_first",
    "explain",
    "item_text",
    "order_items",
]
