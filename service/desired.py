"""What admins want every replica to offer: a small versioned document, and the changes that lead to the next.

It says what differs from the configuration of a replica, so that one with nothing changed is empty. A change
is a pure function from one state to the next; who applies it is :class:`service.replica.Replica`.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from pydantic import TypeAdapter

from service.catalogue import ItemPayload
from service.problems import ConflictError

MAX_VARIANTS = 16  # loaded at once; each is a label in the metrics

Value = TypeVar("Value")


@dataclass(frozen=True)
class BundleRef:
    """A bundle that was loaded.

    Attributes:
        directory: below ``bundles_root``, with ``/`` between its parts.
        digest: sha256 of its manifest, which names the hashes of all other files; every replica has the same.
    """

    directory: str
    digest: str


@dataclass(frozen=True)
class Source:
    """Where the catalogue of a variant comes from.

    Attributes:
        bundle: that holds it; None is the variant's own.
        since: number of the first upsert that it has not seen.
    """

    bundle: BundleRef | None = None
    since: int = 0


@dataclass(frozen=True)
class CatalogueHistory:
    """The catalogue of a variant, and the one before it, to roll back to."""

    current: Source = Source()
    previous: Source | None = None


@dataclass(frozen=True)
class Upsert:
    """Items that were added or replaced together; the numbers go up by one."""

    number: int
    items: tuple[ItemPayload, ...]


@dataclass(frozen=True)
class DesiredState:
    """One version of the state.

    Attributes:
        version: goes up by one with every change.
        loaded: bundles by name of the variant, beside the configured ones.
        unloaded: names of configured variants that shall not be there.
        catalogues: of variants whose catalogue is not that of their bundle from the beginning, by name.
        shares: of the traffic by variant; empty leaves it to the features file or the first variant.
        previous_shares: those before; None before the first shift.
        delisted: item_ids, sorted.
        upserts: in their order; those that no catalogue needs any more are dropped.
        next_upsert: number of the next one.
    """

    version: int = 0
    loaded: Mapping[str, BundleRef] = field(default_factory=dict)
    unloaded: tuple[str, ...] = ()
    catalogues: Mapping[str, CatalogueHistory] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    previous_shares: Mapping[str, float] | None = None
    delisted: tuple[str, ...] = ()
    upserts: tuple[Upsert, ...] = ()
    next_upsert: int = 0

    @classmethod
    def parse(cls, document: bytes) -> "DesiredState":
        """Read what :attr:`document` wrote.

        Raises:
            ValueError: if it is something else.
        """
        return _ADAPTER.validate_json(document)

    @cached_property
    def document(self) -> bytes:
        """The state as JSON."""
        return _ADAPTER.dump_json(self)

    @cached_property
    def stamp(self) -> str:
        """Tells states apart, also two of one version that came about when Redis had lost the first."""
        if not self.version:
            return ""
        return f"{self.version}-{hashlib.blake2b(self.document, digest_size=8).hexdigest()}"

    def variants(self, configured: Sequence[str]) -> list[str]:
        """Names of the variants of a replica, the first of which answers where nothing else is said."""
        kept = [name for name in configured if name not in self.unloaded]
        return [*kept, *(name for name in self.loaded if name not in kept)]

    def catalogue(self, name: str) -> CatalogueHistory:
        """The catalogue of a variant."""
        return self.catalogues.get(name, CatalogueHistory())

    def upserts_of(self, name: str) -> list[Upsert]:
        """What was added to the catalogue of a variant."""
        since = self.catalogue(name).current.since
        return [upsert for upsert in self.upserts if upsert.number >= since]

    def with_variant(self, name: str, bundle: BundleRef, configured: Sequence[str]) -> "DesiredState":
        """Load a bundle under a name; its catalogue is as it stands there, without what was added before.

        Raises:
            ConflictError: if the name is taken, or too many variants are loaded.
        """
        present = self.variants(configured)
        if name in present:
            if self.loaded.get(name) == bundle:
                return self
            raise ConflictError(f"another bundle is loaded as '{name}'; unload it or choose another name")
        if len(present) >= MAX_VARIANTS:
            raise ConflictError(f"{MAX_VARIANTS} variants are loaded; unload one that is not needed")
        fresh = CatalogueHistory(Source(since=self.next_upsert))
        return replace(
            self,
            loaded={**self.loaded, name: bundle},
            catalogues={**self.catalogues, name: fresh},
        )

    def without_variant(self, name: str, default: str, configured: Sequence[str]) -> "DesiredState":
        """Unload a variant.

        Args:
            name: of any variant.
            default: name of the one that answers where there are no shares.
            configured: names of the variants in the settings.

        Raises:
            ConflictError: if callers are sent to it.
        """
        if name not in self.variants(configured):
            return self
        if name in self.shares or (not self.shares and name == default):
            raise ConflictError(f"'{name}' gets traffic; shift it to another variant first")
        return replace(
            self,
            loaded=_without(self.loaded, name),
            unloaded=tuple(sorted({*self.unloaded, *({name} & {*configured})})),
            catalogues=_without(self.catalogues, name),
        )._trimmed(configured)

    def with_shares(self, shares: Mapping[str, float], configured: Sequence[str]) -> "DesiredState":
        """Shift the traffic.

        Raises:
            ConflictError: if a variant is not loaded.
        """
        wanted = {name: share for name, share in sorted(shares.items()) if share}
        self._check_loaded(wanted, configured)
        if wanted == self.shares:
            return self
        return replace(self, shares=wanted, previous_shares=self.shares)

    def with_previous_shares(self, default: str, configured: Sequence[str]) -> "DesiredState":
        """Shift the traffic back to where it was before it was shifted last; twice is once.

        Raises:
            ConflictError: if it was never shifted, or a variant is not loaded any more.
        """
        if self.previous_shares is None:
            raise ConflictError("the traffic was never shifted; there is nothing to roll back to")
        self._check_loaded(self.previous_shares or [default], configured)
        return replace(self, shares=self.previous_shares)

    def with_catalogue(self, name: str, bundle: BundleRef, configured: Sequence[str]) -> "DesiredState":
        """Give a variant the catalogue of another bundle, without what was added before.

        Raises:
            ConflictError: if the variant is not loaded.
        """
        self._check_loaded([name], configured)
        now = self.catalogue(name).current
        if now.bundle == bundle:
            return self
        history = CatalogueHistory(Source(bundle, self.next_upsert), previous=now)
        return replace(self, catalogues={**self.catalogues, name: history})._trimmed(configured)

    def with_previous_catalogue(self, name: str, configured: Sequence[str]) -> "DesiredState":
        """Give a variant its catalogue of before back, with all that was added since then; twice is once.

        Raises:
            ConflictError: if there is none.
        """
        self._check_loaded([name], configured)
        previous = self.catalogue(name).previous
        if previous is None:
            raise ConflictError(f"'{name}' has no catalogue to roll back to")
        history = CatalogueHistory(previous, previous)
        return replace(self, catalogues={**self.catalogues, name: history})._trimmed(configured)

    def with_items(
        self, items: Sequence[ItemPayload], most_bytes: int, configured: Sequence[str]
    ) -> "DesiredState":
        """Add items to every catalogue, or replace those of the same item_id; they are on offer.

        Items that every catalogue has just so, and offers, are left as they are.

        Args:
            items: different ones.
            most_bytes: that the state may have. What only a rollback of a catalogue needs goes first.
            configured: names of the variants in the settings.

        Raises:
            ConflictError: if there is no room.
        """
        fresh = [item for item in items if not self._has(item, configured)]
        if not fresh:
            return self
        item_ids = {item["item_id"] for item in fresh}
        state = replace(
            self,
            delisted=tuple(item_id for item_id in self.delisted if item_id not in item_ids),
            upserts=(*self.upserts, Upsert(self.next_upsert, tuple(fresh))),
            next_upsert=self.next_upsert + 1,
        )
        return state._within(most_bytes, configured)

    def relisted(
        self, item_ids: Collection[str], is_offered: bool, most_bytes: int, configured: Sequence[str]
    ) -> "DesiredState":
        """Take items off offer, in every catalogue of now and later, or offer them again.

        Raises:
            ConflictError: if there is no room to remember them.
        """
        before = set(self.delisted)
        delisted = before.difference(item_ids) if is_offered else before.union(item_ids)
        if delisted == before:
            return self
        state = replace(self, delisted=tuple(sorted(delisted)))
        return state if is_offered else state._within(most_bytes, configured)

    def cleared(self) -> "DesiredState":
        """Nothing but what is configured."""
        empty = DesiredState(version=self.version)
        return self if self == empty else empty

    def _check_loaded(self, names: Collection[str], configured: Sequence[str]) -> None:
        present = self.variants(configured)
        for name in names:
            if name not in present:
                raise ConflictError(f"no variant '{name}' is loaded; there are {', '.join(present)}")

    def _has(self, item: ItemPayload, configured: Sequence[str]) -> bool:
        """Whether an item is in every catalogue as it is given, and on offer."""
        if item["item_id"] in self.delisted:
            return False
        newest = max(self.catalogue(name).current.since for name in self.variants(configured))
        for upsert in reversed(self.upserts):
            for other in upsert.items:
                if other["item_id"] == item["item_id"]:
                    return other == item and upsert.number >= newest
        return False

    def _within(self, most_bytes: int, configured: Sequence[str]) -> "DesiredState":
        """The state with as little to roll back to as it takes to have no more bytes."""
        if len(self.document) <= most_bytes:
            return self
        histories = {name: CatalogueHistory(each.current) for name, each in self.catalogues.items()}
        smaller = replace(self, catalogues=histories)._trimmed(configured)
        if len(smaller.document) > most_bytes:
            raise ConflictError(
                f"items that were added and delisted would take {len(smaller.document):,} bytes, at most "
                f"{most_bytes:,} are kept; export bundles with these changes and load their catalogues"
            )
        return smaller

    def _trimmed(self, configured: Sequence[str]) -> "DesiredState":
        """The state without upserts that no catalogue needs, nor one to roll back to."""
        histories = [self.catalogue(name) for name in self.variants(configured)]
        sources = [source for each in histories for source in (each.current, each.previous) if source]
        first = min(source.since for source in sources)
        return replace(self, upserts=tuple(upsert for upsert in self.upserts if upsert.number >= first))


_ADAPTER = TypeAdapter(DesiredState)


def _without(mapping: Mapping[str, Value], name: str) -> dict[str, Value]:
    return {key: value for key, value in mapping.items() if key != name}
