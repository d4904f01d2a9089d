"""One immutable version of the catalogue: its SIDs, trie, postings, items, lexical index and filters."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.catalogue import Catalogue
from service.filters import FilterIndex
from sid import LexicalIndex, SidTable, Trie
from sid.manifest import BundleError, Manifest

SIDS, ITEMS, LEXICAL = "sids.npz", "items.parquet", "lexical.npz"


@dataclass(frozen=True, eq=False)
class Epoch:
    """What a search needs to know about the items, and all requests in flight share.

    Attributes:
        id: made from the files' hashes, so every replica calls the same catalogue by the same name.
        table: SIDs and postings.
        trie: of the same SIDs, what beam search is held to.
        catalogue: the items.
        lexical: BM25 over them.
        filters: masks by attribute.
    """

    id: str
    table: SidTable
    trie: Trie
    catalogue: Catalogue
    lexical: LexicalIndex
    filters: FilterIndex

    @staticmethod
    def id_of(manifest: Manifest) -> str:
        """Name of the epoch that a bundle holds.

        Raises:
            BundleError: if the manifest does not name its files.
        """
        try:
            hashes = "".join(manifest.files[name] for name in (SIDS, ITEMS, LEXICAL))
        except KeyError as error:
            raise BundleError(f"the manifest does not name {error}; export the bundle again") from error
        return hashlib.sha256(hashes.encode()).hexdigest()[:12]

    @classmethod
    def load(cls, bundle: Path, manifest: Manifest, filter_cache: int) -> "Epoch":
        """Read the epoch of a bundle.

        Args:
            bundle: the directory.
            manifest: of that bundle, its hashes checked.
            filter_cache: how many filter masks to keep.

        Raises:
            BundleError: if the files do not belong together.
        """
        epoch_id = cls.id_of(manifest)
        table = SidTable.load(bundle / SIDS)
        catalogue = Catalogue.load(bundle / ITEMS)
        lexical = LexicalIndex.load(bundle / LEXICAL)
        if not len(catalogue) == table.n_items == lexical.n_items:
            raise BundleError(
                f"{bundle} has {len(catalogue):,} items, {table.n_items:,} SIDs and {lexical.n_items:,} "
                "texts; export the bundle again"
            )
        trie = Trie.from_table(table)
        return cls(
            epoch_id, table, trie, catalogue, lexical, FilterIndex(catalogue, table, trie, filter_cache)
        )
