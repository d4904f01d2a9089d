"""The vocabulary that every room shares: SID table, trie, quantiser, ordering, manifest. NumPy only."""

from sid.errors import RadsearchError
from sid.ordering import OrderingWeights, RankedItems, order_items
from sid.quantizer import ResidualQuantizer
from sid.table import SidTable
from sid.trie import Trie

__all__ = [
    "OrderingWeights",
    "RadsearchError",
    "RankedItems",
    "ResidualQuantizer",
    "SidTable",
    "Trie",
    "order_items",
]
