"""What the endpoints that show the catalogue are asked and answer."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from service.schemas import Answer, Request, ShortText, integral

MAX_PREFIXES = 1_000
MAX_LEVELS = 16
MAX_CODE = 2**31 - 1

# Bounds before the validator: after it, the JSON schema would not have them.
Code = Annotated[int, Field(ge=0, le=MAX_CODE), BeforeValidator(integral)]
CodePrefix = Annotated[list[Code], Field(max_length=MAX_LEVELS)]


class ValueCount(Answer):
    """A value, and how many items on offer have it."""

    value: str | bool | int | float
    items: int


class AttributeValues(Answer):
    """What an attribute holds over the items on offer."""

    name: str
    holds: str
    items: int = Field(description="With a value.")
    values: int = Field(description="Distinct ones.")
    most_frequent: list[ValueCount] = Field(description="The most frequent values, 50 at most.")
    deciles: list[float] = Field(
        description="Of numbers: the least, nine between and the greatest; empty else."
    )


class AttributesResponse(Answer):
    """What filters may ask for."""

    variant: str
    epoch: str
    items: int
    attributes: list[AttributeValues]


class TitlesRequest(Request):
    """Prefixes of SIDs to explain."""

    prefixes: Annotated[list[CodePrefix], Field(min_length=1, max_length=MAX_PREFIXES)]
    variant: ShortText | None = Field(
        None, description="Whose catalogue is meant; the first one's by default."
    )


class SidPrefix(Answer):
    """What lies under a prefix."""

    prefix: list[int]
    items: int
    sids: int
    titles: list[str] = Field(description="Of the most typical of its popular items, three at most.")
    words: list[str] = Field(
        description="Frequent among these items and rare elsewhere, the most telling first; four at most."
    )


class TitlesResponse(Answer):
    """What the prefixes mean, in their order."""

    variant: str
    epoch: str
    prefixes: list[SidPrefix]


class SidItem(Answer):
    """An item under a prefix."""

    item_id: str
    title: str
    attributes: dict[str, Any]


class SidsResponse(Answer):
    """A prefix and what follows it."""

    variant: str
    epoch: str
    codebook_sizes: list[int]
    node: SidPrefix
    children: list[SidPrefix] = Field(
        description="Those with the most items first; none where the SID is whole."
    )
    codes: int = Field(description="How many children there are.")
    items: list[SidItem] = Field(description="The most popular first; only where the SID is whole.")


class SidLevel(Answer):
    """How well the codes of one level are used; counted over the items on offer."""

    codebook_size: int
    utilisation: float = Field(description="Share of the codes that an item has.")
    perplexity: float = Field(description="How many equally used codes would be as spread.")
    evenness: float = Field(description="log perplexity / log codebook size.")
    largest_share: float = Field(description="Share of the items that have the most used code.")
    prefixes: int = Field(description="Distinct prefixes that end here.")
    branching_mean: float
    branching_max: int
    items_per_code: list[int] = Field(description="By code.")


class SidReportResponse(Answer):
    """How well the SIDs of a catalogue are spread."""

    variant: str
    epoch: str
    items: int
    sids: int
    items_per_sid_mean: float
    items_per_sid_max: int
    collision_share: float = Field(description="Share of the items whose SID another item has, too.")
    hourglass: float = Field(description="How far the narrowest middle level falls below both outer ones.")
    levels: list[SidLevel]
    crowded: list[SidPrefix] = Field(description="The SIDs that the most items share.")


_WHOSE = {"variant": "live", "epoch": "be81ebc36134"}
_NODE = {
    "prefix": [17, 203],
    "items": 41,
    "sids": 12,
    "titles": ["Red running shoes", "Trail running shoes"],
    "words": ["running", "shoes"],
}
_LEVEL = {
    "codebook_size": 4,
    "utilisation": 0.75,
    "perplexity": 2.83,
    "evenness": 0.75,
    "largest_share": 0.5,
    "prefixes": 3,
    "branching_mean": 3.0,
    "branching_max": 3,
    "items_per_code": [20, 0, 10, 10],
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "AttributesResponse": _WHOSE
    | {
        "items": 19_406,
        "attributes": [
            {
                "name": "category",
                "holds": "text (a text or a list of texts)",
                "items": 19_400,
                "values": 2,
                "most_frequent": [{"value": "shoes", "items": 12_000}, {"value": "hats", "items": 7_400}],
                "deciles": [],
            }
        ],
    },
    "SidsResponse": _WHOSE
    | {"codebook_sizes": [256, 256, 256], "node": _NODE, "children": [], "codes": 0, "items": []},
    "TitlesRequest": {"prefixes": [[17], [17, 203]]},
    "TitlesResponse": _WHOSE | {"prefixes": [_NODE]},
    "SidReportResponse": _WHOSE
    | {
        "items": 40,
        "sids": 38,
        "items_per_sid_mean": 1.05,
        "items_per_sid_max": 3,
        "collision_share": 0.075,
        "hourglass": 0.0,
        "levels": [_LEVEL],
        "crowded": [_NODE],
    },
}
"""Bodies for the OpenAPI document, by name of the schema."""
