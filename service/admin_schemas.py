"""What requests and answers of the admin API look like."""

from typing import Annotated, Any

from pydantic import Field

from service.catalogue import ItemPayload
from service.schemas import Answer, Number, Request, ShortText, Text

MAX_BATCH = 1_000  # items of one request; its size in bytes is bounded, too

Share = Annotated[float, Field(ge=0, le=1, strict=False)]
ItemIds = Annotated[list[ShortText], Field(min_length=1, max_length=MAX_BATCH)]


class BundleRequest(Request):
    """Which bundle to load."""

    bundle: ShortText = Field(description="Its directory, below bundles_root.", examples=["2026-12-01"])


class TrafficRequest(Request):
    """Who answers callers whom no rule of the experiments concerns."""

    shares: dict[ShortText, Share] = Field(
        min_length=1,
        description="Share of the callers by variant; together 1.",
        examples=[{"live": 0.9, "next": 0.1}],
    )


class NewItem(Request):
    """An item that is added, or replaces the one of its item_id."""

    item_id: ShortText = Field(examples=["B07X"])
    title: Text = Field(min_length=1, examples=["Red running shoes"])
    attributes: dict[Text, bool | Number | Text | list[Text] | None] = Field(
        default_factory=dict,
        description="Those of the catalogue; what is left out has no value.",
        examples=[{"price": 59.9, "in_stock": True}],
    )

    @property
    def payload(self) -> ItemPayload:
        """The item as catalogues take it."""
        return ItemPayload(item_id=self.item_id.strip(), title=self.title, attributes=dict(self.attributes))


class ItemsRequest(Request):
    """Items to add or to replace, each once."""

    items: list[NewItem] = Field(min_length=1, max_length=MAX_BATCH)


class ItemIdsRequest(Request):
    """Items to take off offer, or to offer again."""

    item_ids: ItemIds = Field(examples=[["B07X", "B08Y"]])


class CatalogueState(Answer):
    """Where a catalogue comes from."""

    bundle: str | None = Field(description="Directory below bundles_root; null is the variant's own bundle.")


class VariantState(Answer):
    """One variant and what it searches."""

    variant: str
    bundle: str | None = Field(description="Directory below bundles_root; null is the configured bundle.")
    model: str
    catalogue: CatalogueState
    previous_catalogue: CatalogueState | None = Field(description="To roll back to; null if there is none.")
    epoch: str
    items: int = Field(description="On offer.")
    share: float = Field(description="Of the callers whom no rule of the experiments concerns.")


EXAMPLE: dict[str, Any] = {
    "version": 7,
    "problem": None,
    "variants": [
        {
            "variant": "live",
            "bundle": None,
            "model": "rad-dpo",
            "catalogue": {"bundle": "2026-11-30"},
            "previous_catalogue": {"bundle": None},
            "epoch": "be81ebc36134",
            "items": 19_406,
            "share": 0.9,
        },
        {
            "variant": "next",
            "bundle": "2026-12-01",
            "model": "rad-dpo",
            "catalogue": {"bundle": None},
            "previous_catalogue": None,
            "epoch": "0d3c7b8a9f12",
            "items": 19_511,
            "share": 0.1,
        },
    ],
    "shares": {"live": 0.9, "next": 0.1},
    "previous_shares": {},
    "delisted": 12,
    "upserts": 3,
    "bytes": 4_096,
    "max_bytes": 8_388_608,
}


class StateResponse(Answer):
    """What this replica offers."""

    version: int = Field(description="Goes up by one with every change; the same on replicas that agree.")
    problem: str | None = Field(description="Why this replica does not offer the newest version, if so.")
    variants: list[VariantState]
    shares: dict[str, float] = Field(description="As shifted last; empty if never.")
    previous_shares: dict[str, float] | None = Field(description="To roll back to; null if never shifted.")
    delisted: int
    upserts: int = Field(description="Changes that added items and that a replica which starts now makes.")
    bytes: int = Field(description="Size of the state in Redis.")
    max_bytes: int


class RelistResponse(StateResponse):
    """What this replica offers, and items that it does not know."""

    unknown: list[str] = Field(description="Given item_ids that are in no catalogue now.")
