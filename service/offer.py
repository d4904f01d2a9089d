"""What the service offers at one moment: variants, each with its snapshot of the catalogue, and to whom."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from service.bundle import map_array
from service.catalogue import ITEM_ID, ItemPayload
from service.columns import Column, Mask
from service.epoch import Epoch, NewItems
from service.errors import ServiceError
from service.filters import FilterIndex
from service.new_items import item_rows, item_texts
from service.snapshot import Snapshot
from service.traffic import Traffic
from service.variants import Variant
from sid.growth import extended
from sid.manifest import BundleError, Manifest

VECTORS = "item_vectors.npy"

Items = Sequence[ItemPayload]


@dataclass(frozen=True, eq=False)
class Offer:
    """Never changes: what changes is another one, and what both share is there once. Making one blocks.

    Attributes:
        filter_cache: how many filter masks an epoch keeps.
        snapshots: of each variant, by its name; the first answers where nothing else is said.
        delisted: item_ids that are not on offer, whether a catalogue has them or not.
        shares: of the traffic, see :class:`Traffic`.
    """

    filter_cache: int
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)
    delisted: frozenset[str] = frozenset()
    shares: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def traffic(self) -> Traffic:
        """What callers can get."""
        return Traffic(tuple(self.snapshots), self.shares)

    @cached_property
    def epochs(self) -> list[Epoch]:
        """The distinct epochs of all variants."""
        return list({snapshot.epoch.id: snapshot.epoch for snapshot in self.snapshots.values()}.values())

    @property
    def epoch_ids(self) -> dict[str, str]:
        """Id of the epoch of each variant, by its name."""
        return {name: snapshot.epoch.id for name, snapshot in self.snapshots.items()}

    @cached_property
    def columns(self) -> dict[str, type[Column]]:
        """Attributes that every variant can filter, by name."""
        first, *others = (snapshot.filters.columns for snapshot in self.snapshots.values())
        return {
            name: column
            for name, column in first.items()
            if all(other.get(name) is column for other in others)
        }

    @cached_property
    def beam_width(self) -> int:
        """Widest search that every variant has."""
        return min(snapshot.variant.engine.beam_widths[-1] for snapshot in self.snapshots.values())

    def unknown(self, item_ids: Collection[str]) -> list[str]:
        """Which of these items are in no catalogue."""
        unknown = set(item_ids)
        for epoch in self.epochs:
            unknown -= epoch.catalogue.rows_of(item_ids).keys()
        return sorted(unknown)

    def check_items(self, items: Items) -> None:
        """Refuse items that a catalogue cannot take.

        Raises:
            InvalidRequestError: naming the first value.
        """
        for epoch in self.epochs:
            item_rows(items, epoch.catalogue.table.schema)

    def only(self, names: Collection[str]) -> "Offer":
        """Without the variants of other names."""
        kept = {name: snapshot for name, snapshot in self.snapshots.items() if name in names}
        return replace(self, snapshots=kept)

    def ordered(self, names: Iterable[str]) -> "Offer":
        """With the variants in this order."""
        return replace(self, snapshots={name: self.snapshots[name] for name in names})

    def shared(self, shares: Mapping[str, float]) -> "Offer":
        """With other shares of the traffic."""
        return replace(self, shares=shares)

    def added(self, variant: Variant, catalogue: Path | None = None) -> "Offer":
        """With one variant more, or in place of that of its name.

        Args:
            variant: its model.
            catalogue: directory of the bundle with the catalogue; None is its own.

        Raises:
            BundleError: if the bundle is damaged, or of another model.
        """
        path = catalogue or variant.bundle.path
        manifest = Manifest.read(path)
        variant.bundle.check_same_model(path, manifest)
        return self._with({variant.name: self._read(variant, path, manifest)})

    def loaded(self, name: str, path: Path) -> "Offer":
        """With the catalogue of another bundle of the same model.

        Items that were added since are gone unless they are in it; items that were delisted stay so.

        Args:
            name: of the variant whose catalogue it becomes.
            path: directory of the bundle.

        Raises:
            ServiceError: if there is no such variant.
            BundleError: if the bundle is damaged, or of another model.
        """
        if name not in self.snapshots:
            raise ServiceError(f"no variant is named '{name}'; choose one of {', '.join(self.snapshots)}")
        before = self.snapshots[name]
        offer = self.added(before.variant, path)
        offer.snapshots[name].filters.warm_up(before.filters)
        return offer

    def check_answers(self, before: "Offer") -> None:
        """Refuse to follow on an offer if a search that it answers would be refused.

        Raises:
            BundleError: if a variant lacks an attribute that filters may name, or searches too few beams.
        """
        for name, snapshot in self.snapshots.items():
            for attribute, column in before.columns.items():
                if snapshot.filters.columns.get(attribute) is not column:
                    raise BundleError(
                        f"the items of '{name}' would have no attribute '{attribute}' that holds "
                        f"{column.kind}, and filters may name it; export the bundle with it"
                    )
            widest = snapshot.variant.engine.beam_widths[-1]
            if widest < before.beam_width:
                raise BundleError(
                    f"'{name}' would search {widest} beams at most, and requests may ask for "
                    f"{before.beam_width}; export the bundle with --beam-width {before.beam_width}"
                )

    def upserted(self, *batches: Items, names: Collection[str] | None = None) -> "Offer":
        """With items added to catalogues, or replacing those of the same item_id; they are on offer.

        The embedder and the quantiser of the bundle give them their SIDs, so that nothing is trained anew.

        Args:
            batches: each with different items; a later one replaces items of an earlier one.
            names: of the variants whose catalogues they join; None is all.

        Raises:
            InvalidRequestError: if a catalogue cannot take a value.
            ServiceError: if the bundle's items were embedded elsewhere.
        """
        changed: dict[str, Snapshot] = {}
        for members in self._by_epoch(self.snapshots if names is None else names):
            snapshot = members[0]
            # Bundles of one epoch have one embedder and one quantiser: their hashes are part of its id.
            new = [_placed(snapshot, items) for items in batches]
            epoch = snapshot.epoch.upserted(*new)
            filters = FilterIndex(epoch, self.filter_cache, _listed_after(snapshot, epoch, new))
            filters.warm_up(snapshot.filters)
            embeddings = np.concatenate([each.embeddings for each in new])
            for member in members:
                vectors = extended(member.features.vectors, member.variant.bundle.item_vectors(embeddings))
                changed[member.variant.name] = Snapshot.of(member.variant, epoch, vectors, filters)
        item_ids = {item["item_id"].strip() for items in batches for item in items}
        return self._with(changed).relisted(self.delisted - item_ids)

    def relisted(self, delisted: Collection[str]) -> "Offer":
        """With these items not on offer, and no others; they stay so in catalogues that are loaded later."""
        delisted = frozenset(delisted)
        turned = self.delisted ^ delisted
        changed: dict[str, Snapshot] = {}
        for members in self._by_epoch(self.snapshots if turned else ()):
            snapshot = members[0]
            rows = snapshot.epoch.catalogue.rows_of(turned)
            listed, places = _mask_of(snapshot).copy(), list(rows.values())
            wanted = np.array([item_id not in delisted for item_id in rows], dtype=bool)
            if (listed[places] == wanted).all():
                continue
            listed[places] = wanted
            filters = snapshot.filters.relisted(listed)
            changed |= {member.variant.name: member.relisted(filters) for member in members}
        return replace(self._with(changed), delisted=delisted)

    def _with(self, snapshots: Mapping[str, Snapshot]) -> "Offer":
        return replace(self, snapshots={**self.snapshots, **snapshots})

    def _read(self, variant: Variant, path: Path, manifest: Manifest) -> Snapshot:
        """The catalogue of a bundle as a variant searches it; an epoch that is served already is shared."""
        served = {snapshot.epoch.id: snapshot for snapshot in self.snapshots.values()}
        epoch_id = Epoch.id_of(manifest)
        if epoch_id in served:
            epoch, filters = served[epoch_id].epoch, served[epoch_id].filters
        else:
            epoch = Epoch.load(path, manifest)
            filters = FilterIndex(epoch, self.filter_cache, self._listed(epoch))
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
        listed[list(epoch.catalogue.rows_of(self.delisted).values())] = False
        return listed

    def _by_epoch(self, names: Iterable[str]) -> Iterator[list[Snapshot]]:
        """Snapshots of some variants, those that share an epoch together."""
        groups: dict[str, list[Snapshot]] = {}
        for name in names:
            groups.setdefault(self.snapshots[name].epoch.id, []).append(self.snapshots[name])
        yield from groups.values()


def _placed(snapshot: Snapshot, items: Items) -> NewItems:
    """Give new items their place in a catalogue."""
    rows = item_rows(items, snapshot.epoch.catalogue.table.schema)
    texts = item_texts(rows)
    embeddings = snapshot.variant.engine.embed_items(texts)
    return NewItems(rows, texts, embeddings, snapshot.variant.bundle.quantizer.encode(embeddings))


def _listed_after(before: Snapshot, epoch: Epoch, added: Sequence[NewItems]) -> Mask:
    """The items on offer when some were added: the last row of each of these, and no earlier one."""
    item_ids = {item_id for each in added for item_id in each.rows.column(ITEM_ID).to_pylist()}
    listed = np.zeros(len(epoch.catalogue), dtype=bool)
    listed[: len(before.epoch.catalogue)] = _mask_of(before)
    listed[list(before.epoch.catalogue.rows_of(item_ids).values())] = False
    listed[list(epoch.catalogue.rows_of(item_ids).values())] = True
    return listed


def _mask_of(snapshot: Snapshot) -> Mask:
    """The items on offer, bool [n_items]."""
    listed = snapshot.filters.listed
    return np.ones(len(snapshot.epoch.catalogue), dtype=bool) if listed is None else listed
