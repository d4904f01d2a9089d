"""What one search sees of the catalogue, from its start to its end."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.epoch import Epoch
from service.filters import FilterIndex
from service.searches import BoundTrie
from service.sid_tree import SidTree
from service.variants import Variant
from sid import ItemFeatures


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An epoch as one variant searches it; never changes, and is freed with the last search that holds it.

    Attributes:
        variant: that searches it.
        epoch: the catalogue; variants share it where theirs is the same.
        features: what its items are scored by.
        filters: what of it is on offer, and what filters leave over of that.
        trie: the same on the device.
    """

    variant: Variant
    epoch: Epoch
    features: ItemFeatures
    filters: FilterIndex
    trie: BoundTrie

    @cached_property
    def fingerprint(self) -> str:
        """The same on every replica where the same queries find the same items."""
        listed = self.filters.listed
        offered = b"" if listed is None else np.packbits(listed).tobytes()
        digest = hashlib.blake2b(offered, digest_size=8).hexdigest()
        return f"{self.variant.fingerprint}:{self.epoch.id}:{digest}"

    @cached_property
    def sids(self) -> SidTree:
        """The SIDs of what is on offer, to look into; made when first asked for."""
        return SidTree(self.epoch, self.filters.listed)

    @classmethod
    def of(
        cls, variant: Variant, epoch: Epoch, vectors: NDArray[np.float32], filters: FilterIndex
    ) -> "Snapshot":
        """Bind an epoch to a variant's device and warm it up; blocks.

        Args:
            variant: that will search it.
            epoch: the catalogue.
            vectors: float32 [n_items, vector_dim], unit rows, of this variant's model.
            filters: over the epoch.
        """
        trie = variant.engine.bind(epoch.trie, filters.everything.alive)
        variant.engine.warm_up(trie)
        features = ItemFeatures(vectors, epoch.embeddings, epoch.lexical, epoch.prior)
        return cls(variant, epoch, features, filters, trie)

    def relisted(self, filters: FilterIndex) -> "Snapshot":
        """The same epoch with other items on offer."""
        trie = self.variant.engine.rebind(self.trie, filters.everything.alive)
        return replace(self, filters=filters, trie=trie)
