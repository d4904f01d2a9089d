"""The catalogue while the service runs: epochs are swapped, items come, go and come back."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from service.bundle import map_array
from service.catalogue import ItemPayload
from service.columns import Column, Mask
from service.epoch import Epoch, NewItems
from service.errors import ServiceError
from service.filters import FilterIndex
from service.new_items import item_rows, item_texts
from service.snapshot import Snapshot
from service.store import ItemStore
from service.variants import Variant
from sid.growth import extended
from sid.manifest import BundleError, Manifest

VECTORS = "item_vectors.npy"

logger = logging.getLogger(__name__)


class LiveCatalogue:
    """What every variant searches now.

    A search takes one snapshot and keeps it to its end. A change builds new snapshots in a thread, beside the
    searches, and puts them in place by one assignment; what nobody holds any more is freed at once. Changes
    wait for one another.
    """

    def __init__(self, variants: Mapping[str, Variant], store: ItemStore, filter_cache: int) -> None:
        """Load the epochs that the bundles came with; blocks, for seconds where catalogues are large.

        Args:
            variants: by name.
            store: told which epochs are served.
            filter_cache: how many filter masks an epoch keeps.

        Raises:
            BundleError: if an epoch cannot be served.
        """
        self._variants = variants
        self._store = store
        self._filter_cache = filter_cache
        self._changing = asyncio.Lock()
        self._delisted: frozenset[str] = frozenset()
        self._snapshots: Mapping[str, Snapshot] = {}
        for name, variant in variants.items():
            snapshot = self._read(variant, variant.bundle.path, variant.bundle.manifest)
            self._snapshots = {**self._snapshots, name: snapshot}

    def snapshot(self, variant: str) -> Snapshot:
        """What a search of a variant that starts now sees to its end."""
        return self._snapshots[variant]

    @property
    def epochs(self) -> list[Epoch]:
        """The distinct epochs of all variants."""
        return list({snapshot.epoch.id: snapshot.epoch for snapshot in self._snapshots.values()}.values())

    @property
    def columns(self) -> dict[str, type[Column]]:
        """Attributes that every variant can filter, by name; none goes while the service runs."""
        first, *others = (snapshot.filters.columns for snapshot in self._snapshots.values())
        return {
            name: column
            for name, column in first.items()
            if all(other.get(name) is column for other in others)
        }

    async def load(self, variant: str, path: Path) -> None:
        """Serve the catalogue of another bundle of the same model.

        Items that were added since are gone unless they are in it; items that were delisted stay so.

        Args:
            variant: name of the one whose catalogue it becomes.
            path: directory of the bundle.

        Raises:
            ServiceError: if there is no such variant.
            BundleError: if the bundle is damaged, of another model, or lacks an attribute that filters name.
        """
        if variant not in self._variants:
            raise ServiceError(f"no variant is named '{variant}'; choose one of {', '.join(self._variants)}")
        async with self._changing:
            snapshot = await asyncio.to_thread(self._load, self._variants[variant], path)
            self._swap({variant: snapshot})

    async def delist(self, item_ids: Collection[str]) -> list[str]:
        """Take items off offer: no search that starts later finds them, in no catalogue that is loaded later.

        Returns:
            Those that are in no catalogue now.
        """
        return await self._relist(frozenset(item_ids), is_offered=False)

    async def undelist(self, item_ids: Collection[str]) -> list[str]:
        """Offer delisted items again.

        Returns:
            Those that are in no catalogue now.
        """
        return await self._relist(frozenset(item_ids), is_offered=True)

    async def upsert(self, items: Sequence[ItemPayload]) -> None:
        """Add items to every catalogue, or replace those of the same item_id; they are on offer.

        The embedder and the quantiser of the bundle give them their SIDs, so that nothing is trained anew.

        Raises:
            InvalidRequestError: if a catalogue cannot take a value; then nothing changes.
            ServiceError: if the bundle's items were embedded elsewhere.
        """
        async with self._changing:
            snapshots = await asyncio.to_thread(self._upserted, items)
            self._delisted -= {item["item_id"].strip() for item in items}
            self._swap(snapshots)

    def _swap(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Let searches that start from now on see these, by name of the variant."""
        self._snapshots = {**self._snapshots, **snapshots}
        self._store.serve(self.epochs)
        for name, snapshot in snapshots.items():
            fields = {"variant": name, "epoch": snapshot.epoch.id, "items": snapshot.filters.n_listed}
            logger.info("catalogue changed", extra=fields)

    def _load(self, variant: Variant, path: Path) -> Snapshot:
        manifest = Manifest.read(path)
        variant.bundle.check_same_model(path, manifest)
        snapshot = self._read(variant, path, manifest)
        for name, column in self._snapshots[variant.name].filters.columns.items():
            if snapshot.filters.columns.get(name) is not column:
                raise BundleError(
                    f"the items of {path} have no attribute '{name}' that holds {column.kind}, and "
                    "filters may name it; add it, or start the service with this bundle"
                )
        snapshot.filters.warm_up(self._snapshots[variant.name].filters)
        return snapshot

    def _read(self, variant: Variant, path: Path, manifest: Manifest) -> Snapshot:
        """The catalogue of a bundle as a variant searches it; an epoch that is served already is shared."""
        served = {snapshot.epoch.id: snapshot for snapshot in self._snapshots.values()}
        epoch_id = Epoch.id_of(manifest)
        if epoch_id in served:
            epoch, filters = served[epoch_id].epoch, served[epoch_id].filters
        else:
            epoch = Epoch.load(path, manifest)
            filters = FilterIndex(epoch, self._filter_cache, self._listed(epoch))
        vectors = map_array(path / VECTORS, len(epoch.catalogue))
        bundle = variant.bundle
        wanted = (*bundle.quantizer.codebook_sizes, *bundle.item_head.shape)
        found = (*epoch.table.codebook_sizes, *vectors.shape[1:], *epoch.embeddings.shape[1:])
        if found != wanted:
            raise BundleError(
                f"{path} has codebook sizes and dimensions of vectors and embeddings {found}, its model "
                f"needs {wanted}; export the bundle again"
            )
        return Snapshot.of(variant, epoch, vectors, filters)

    def _listed(self, epoch: Epoch) -> Mask:
        """The items of a new epoch that were not delisted, bool [n_items]."""
        listed = np.ones(len(epoch.catalogue), dtype=bool)
        listed[list(epoch.catalogue.rows_of(self._delisted).values())] = False
        return listed

    async def _relist(self, item_ids: frozenset[str], is_offered: bool) -> list[str]:
        async with self._changing:
            snapshots, unknown = await asyncio.to_thread(self._relisted, item_ids, is_offered)
            self._delisted = self._delisted - item_ids if is_offered else self._delisted | item_ids
            self._swap(snapshots)
        return sorted(unknown)

    def _relisted(
        self, item_ids: frozenset[str], is_offered: bool
    ) -> tuple[dict[str, Snapshot], frozenset[str]]:
        """The snapshots that change when items are offered or not, and which items none of them has."""
        changed: dict[str, Snapshot] = {}
        unknown = item_ids
        for members in self._by_epoch():
            _, snapshot = members[0]
            rows = snapshot.epoch.catalogue.rows_of(item_ids)
            unknown -= rows.keys()
            listed = _mask_of(snapshot).copy()
            places = list(rows.values())
            if (listed[places] == is_offered).all():
                continue
            listed[places] = is_offered
            filters = snapshot.filters.relisted(listed)
            changed |= {variant.name: each.relisted(variant, filters) for variant, each in members}
        return changed, unknown

    def _upserted(self, items: Sequence[ItemPayload]) -> dict[str, Snapshot]:
        changed: dict[str, Snapshot] = {}
        for members in self._by_epoch():
            variant, snapshot = members[0]
            # Bundles of one epoch have one embedder and one quantiser: their hashes are part of its id.
            new = _placed(variant, snapshot.epoch, items)
            epoch = snapshot.epoch.upserted(new)
            listed = np.concatenate([_mask_of(snapshot), np.ones(len(items), dtype=bool)])
            ids = new.rows.column("item_id").to_pylist()
            listed[list(snapshot.epoch.catalogue.rows_of(ids).values())] = False
            filters = FilterIndex(epoch, self._filter_cache, listed)
            filters.warm_up(snapshot.filters)
            for variant, each in members:
                vectors = extended(each.features.vectors, variant.bundle.item_vectors(new.embeddings))
                changed[variant.name] = Snapshot.of(variant, epoch, vectors, filters)
        return changed

    def _by_epoch(self) -> Iterable[list[tuple[Variant, Snapshot]]]:
        """Variants with their snapshots, those that share an epoch together."""
        groups: dict[str, list[tuple[Variant, Snapshot]]] = {}
        for name, snapshot in self._snapshots.items():
            groups.setdefault(snapshot.epoch.id, []).append((self._variants[name], snapshot))
        return groups.values()


def _placed(variant: Variant, epoch: Epoch, items: Sequence[ItemPayload]) -> NewItems:
    """Give new items their place in a catalogue."""
    rows = item_rows(items, epoch.catalogue.table.schema)
    texts = item_texts(rows)
    embeddings = variant.engine.embed_items(texts)
    return NewItems(rows, texts, embeddings, variant.bundle.quantizer.encode(embeddings))


def _mask_of(snapshot: Snapshot) -> Mask:
    """The items on offer, bool [n_items]."""
    listed = snapshot.filters.listed
    return np.ones(len(snapshot.epoch.catalogue), dtype=bool) if listed is None else listed
