"""The vocabulary that every room shares: SIDs, trie, quantiser, embedder, ordering, manifest; NumPy only."""

from sid.errors import RadsearchError, SidError
from sid.ordering import OrderingWeights, RankedItems, order_items
from sid.quantizer import ResidualQuantizer
from sid.table import SidTable
from sid.tfidf import TfidfEmbedder
from sid.trie import Trie

__all__ = [
    "OrderingWeights",
    "RadsearchError",
    "RankedItems",
    "ResidualQuantizer",
    "SidError",
    "SidTable",
    "TfidfEmbedder",
    "Trie",
    "order_items",
]
