"""One immutable version of the catalogue: its SIDs, trie, postings, items and what they are scored by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.bundle import EMBEDDER, QUANTIZER, map_array
from service.catalogue import Catalogue
from sid import LexicalIndex, SidTable, Trie
from sid.growth import extended
from sid.manifest import BundleError, Manifest

SIDS, ITEMS, LEXICAL = "sids.npz", "items.parquet", "lexical.npz"
EMBEDDINGS, PRIOR = "item_embeddings.npy", "item_prior.npy"
FILES = (SIDS, ITEMS, LEXICAL, EMBEDDINGS, PRIOR, QUANTIZER)


@dataclass(frozen=True)
class NewItems:
    """Items as they join a catalogue.

    Attributes:
        rows: item_id, title and attributes, with the schema of the catalogue.
        texts: what they are embedded and found by.
        embeddings: float32 [n, embedding_dim], of the texts.
        codes: int32 [n, L], their SIDs.
    """

    rows: pa.Table
    texts: Sequence[str]
    embeddings: NDArray[np.float32]
    codes: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Epoch:
    """What a search needs to know about the items, and all requests in flight share.

    Attributes:
        id: made from the files' hashes and from what was added since, so every replica calls the same
            catalogue by the same name.
        table: SIDs and postings.
        trie: of the same SIDs, what beam search is held to.
        catalogue: the items.
        lexical: BM25 over them.
        embeddings: float32 [n_items, embedding_dim], unit rows.
        prior: float32 [n_items], log-popularity scaled to 0..1.
    """

    id: str
    table: SidTable
    trie: Trie
    catalogue: Catalogue
    lexical: LexicalIndex
    embeddings: NDArray[np.float32]
    prior: NDArray[np.float32]

    @staticmethod
    def id_of(manifest: Manifest) -> str:
        """Name of the epoch that a bundle holds.

        Raises:
            BundleError: if the manifest does not name its files.
        """
        names = [*FILES, *sorted(name for name in manifest.files if name.startswith(EMBEDDER))]
        try:
            hashes = [manifest.files[name] for name in names]
        except KeyError as error:
            raise BundleError(f"the manifest does not name {error}; export the bundle again") from error
        return _short_hash(*hashes)

    @classmethod
    def load(cls, bundle: Path, manifest: Manifest) -> "Epoch":
        """Read the epoch of a bundle.

        Args:
            bundle: the directory.
            manifest: of that bundle, its hashes checked.

        Raises:
            BundleError: if the files do not belong together.
        """
        epoch_id = cls.id_of(manifest)
        table = SidTable.load(bundle / SIDS)
        catalogue = Catalogue.load(bundle / ITEMS)
        lexical = LexicalIndex.load(bundle / LEXICAL)
        n_items = len(catalogue)
        if not n_items == table.n_items == lexical.n_items:
            raise BundleError(
                f"{bundle} has {n_items:,} items, {table.n_items:,} SIDs and {lexical.n_items:,} "
                "texts; export the bundle again"
            )
        return cls(
            id=epoch_id,
            table=table,
            trie=Trie.from_table(table),
            catalogue=catalogue,
            lexical=lexical,
            embeddings=map_array(bundle / EMBEDDINGS, n_items),
            prior=map_array(bundle / PRIOR, n_items),
        )

    def upserted(self, *batches: NewItems) -> "Epoch":
        """The epoch with some items more; one that was here before keeps its row, and has a newer one.

        What is stored by item gets longer at its end, so that neither rows nor memory of this epoch change.
        The new rows have no popularity of their own, but for items that were here before. Several batches
        at once lead to the same epoch as one after the other, sooner.

        Args:
            batches: different items each; their embeddings, SIDs and texts come from the bundle of this
                epoch.
        """
        added = pa.concat_tables([items.rows for items in batches])
        row_of = self.catalogue.rows_of(set(added.column("item_id").to_pylist()))
        epoch_id, lexical, prior = self.id, self.lexical, self.prior
        for items in batches:
            item_ids = items.rows.column("item_id").to_pylist()
            at = [(place, row_of[item_id]) for place, item_id in enumerate(item_ids) if item_id in row_of]
            places, replaced = np.array(at, dtype=np.int64).reshape(-1, 2).T
            own = np.zeros(len(item_ids), dtype=np.float32)
            own[places] = prior[replaced]
            row_of |= {item_id: len(prior) + place for place, item_id in enumerate(item_ids)}
            epoch_id = _short_hash(epoch_id, *map(repr, items.rows.to_pylist()))
            lexical = lexical.append(items.texts, replaced)
            prior = extended(prior, own)
        codes = [self.table.codes[self.table.leaf_of_item()], *(items.codes for items in batches)]
        table = SidTable.from_item_codes(np.concatenate(codes), self.table.codebook_sizes)
        return Epoch(
            id=epoch_id,
            table=table,
            trie=Trie.from_table(table),
            catalogue=self.catalogue.extended(added),
            lexical=lexical,
            embeddings=extended(self.embeddings, np.concatenate([items.embeddings for items in batches])),
            prior=prior,
        )


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:12]
