"""What requests and answers look like.

Limits that the settings and the bundles decide (longest query, largest k, known attributes, …) are checked
where the request is used and written into the OpenAPI document by ``service.openapi``.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError
from pydantic_core.core_schema import ValidatorFunctionWrapHandler

from service.decoding import Weight, WeightName

MAX_TEXT = 256
MAX_CHOICES = 100
MAX_FILTERS = 16
MAX_ATTRIBUTES = 32
MAX_NUMBER = 1e300
MAX_EVENT_AGE = timedelta(days=30)
CLOCK_DIFFERENCE = timedelta(minutes=1)  # a shop's clock may be ahead of ours
RFC_3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"


def _encodable(text: str) -> str:
    """Refuse halves of surrogate pairs, which JSON lets through and UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a surrogate pair") from error
    return text


Text = Annotated[str, AfterValidator(_encodable)]
ShortText = Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]


def integral(value: object) -> object:
    """Let 20.0 be 20, as JSON does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(integral)]
Number = (
    Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]
)


class Request(BaseModel):
    """Base of all request bodies: no unknown fields, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _one_complaint(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    """Say what a condition may be, instead of why it is none of the six things it may be."""
    try:
        return validate(value)
    except ValidationError as error:
        raise PydanticCustomError(
            "condition",
            "is no text, number, truth value, list of up to {most} texts or numbers, or bounds (gte, …)",
            {"most": MAX_CHOICES},
        ) from error


Bounds = Annotated[dict[Literal["gte", "gt", "lte", "lt"], Number], Field(min_length=1)]
Choices = Annotated[list[ShortText] | list[Number], Field(min_length=1, max_length=MAX_CHOICES)]
Condition = Annotated[bool | Number | ShortText | Choices | Bounds, WrapValidator(_one_complaint)]
Filters = Annotated[dict[Text, Condition], Field(max_length=MAX_FILTERS)]


Attributes = Annotated[dict[ShortText, bool | Number | ShortText], Field(max_length=MAX_ATTRIBUTES)]


class SearchRequest(Request):
    """One text query."""

    query: Text = Field(
        description="What the shopper typed, in any language; at least one visible character.",
        examples=["red running shoes"],
    )
    k: Integer | None = Field(None, description="Items to return at most.", examples=[20])
    filters: Filters | None = Field(
        None,
        description="Conditions on attributes, all of which hold: a value, a list of values, or bounds.",
        examples=[{"price": {"gte": 5, "lte": 200}}],
    )
    user_id: ShortText | None = Field(None, description="Stable id of the user; experiments hash it.")
    beam_width: Integer | None = Field(
        None, description="SIDs to look for; wider finds more and takes longer. The widest by default."
    )
    ordering: dict[WeightName, Weight] | None = Field(
        None,
        description="Weights of the items' scores; those not named are the bundle's.",
        examples=[{"tau": 2.0}],
    )
    timeout_ms: Integer | None = Field(
        None, description="Deadline in milliseconds; past it the answer is 504."
    )
    explain: bool = Field(
        False, description="Say how the model came to the SIDs of the items; one variant answers alone."
    )
    attributes: Attributes | None = Field(
        None,
        description="What else is known of the shopper; rules of experiments may ask for it. Kept nowhere.",
        examples=[{"country": "DE", "device": "phone", "logged_in": True}],
    )


class BatchRequest(Request):
    """Several searches at once."""

    searches: list[SearchRequest]


def _recent_utc(text: str) -> str:
    """An event's time in UTC, as the event log writes times; refuse what no shopper can have done."""
    try:
        moment, now = datetime.fromisoformat(text), datetime.now(UTC)
    except ValueError as error:
        raise ValueError("is no time of the calendar") from error
    if moment > now + CLOCK_DIFFERENCE:
        raise ValueError("is in the future")
    if moment < now - MAX_EVENT_AGE:
        raise ValueError(f"is more than {MAX_EVENT_AGE.days} days ago")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


EventTime = Annotated[
    str, Field(pattern=RFC_3339, json_schema_extra={"format": "date-time"}), AfterValidator(_recent_utc)
]


class EventRequest(Request):
    """What a shopper did with an answer."""

    request_id: ShortText = Field(description="Of the answer that showed the item.")
    type: Literal["click", "cart", "purchase"]
    item_id: ShortText
    user_id: ShortText | None = None
    quantity: Integer = Field(1, ge=1, le=1_000_000)
    price: Annotated[float, Field(ge=0, le=1e12)] | None = Field(
        None, description="Price of one piece, in the shop's currency."
    )
    event_id: ShortText | None = Field(
        None, description="Unique id, such as a UUID, under which the event may be sent again."
    )
    event_time: EventTime | None = Field(
        None, description="When it happened, if not just now; 30 days ago at most, and not in the future."
    )


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


@dataclass(slots=True)  # no model: an answer has many, and what is in them needs no check
class Item:
    """One item found."""

    item_id: str
    score: Annotated[
        float,
        Field(description="log p(SID) + weighted cosine, BM25 and popularity; comparable within an answer."),
    ]
    sid: list[int]
    title: str
    attributes: dict[str, Any]


class Timings(Answer):
    """Milliseconds of each stage; total is what the service took, not the network."""

    tokenize: float
    queue: float
    decode: float
    items: float
    total: float


class KeptPrefix(Answer):
    """A prefix that went on, and what might follow it."""

    prefix: list[int]
    log_prob: float
    in_trie: int = Field(
        description="Codes that may follow because a SID has them; 0 where the SID is whole."
    )
    alive: int = Field(description="Those of them under which the filter leaves an item.")


class PrunedPrefix(Answer):
    """A prefix that the search looked at and left."""

    prefix: list[int]
    log_prob: float
    behind: float = Field(description="How far below the last prefix that went on.")


class ExplainedCode(Answer):
    """One code of a SID."""

    code: int
    log_prob: float = Field(description="Of the code, given those before it.")
    rank: int = Field(description="Of the prefix up to here among all of its level; 1 is the best.")
    margin: float | None = Field(description="How far above the best prefix pruned; null if none was.")


class ExplainedSid(Answer):
    """A SID, level by level."""

    sid: list[int]
    codes: list[ExplainedCode]


class SearchExplanation(Answer):
    """How the model came to the SIDs of the items."""

    sids: list[ExplainedSid] = Field(description="Of the items in the answer, each once.")
    root: KeptPrefix = Field(description="The empty prefix, from which all go on.")
    kept: list[list[KeptPrefix]] = Field(
        description="Per level, the prefixes that went on, best first; on the last, the SIDs found."
    )
    pruned: list[list[PrunedPrefix]] = Field(description="Per level, the best prefixes that were left.")


class Interleaved(Answer):
    """Two variants whose answers are drafted team by team, and who put each item there."""

    variants: list[str] = Field(description="Both, by the names that the experiment gives them.")
    teams: list[int | None] = Field(
        description="Of each item, 0 for the first variant, 1 for the second, null for none or both."
    )


class SearchResponse(Answer):
    """Items that answer a query, best first."""

    request_id: str = Field(description="Send it with the events that this answer leads to.")
    items: list[Item]
    requested: int
    returned: int
    exhausted: bool = Field(description="Fewer than the asked items exist; a wider beam would find no more.")
    degraded: list[str] = Field(
        description=(
            "What was away or spared: redis, where the bundle's own copy answered and nothing is missing; "
            "beam, where there was much to do and fewer SIDs were looked for."
        )
    )
    cached: bool = Field(description="Whether the same was asked before; the items are the same, too.")
    variant: str
    model: str
    epoch: str
    timings_ms: Timings
    explanation: SearchExplanation | None = Field(None, description="Where it was asked for.")
    interleaved: Interleaved | None = Field(
        None, description="Where the items are those of two variants, then joined in `variant` by +."
    )


class FieldProblem(Answer):
    """What is wrong with one part of the request."""

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter.")
    detail: str


class Problem(Answer):
    """RFC 9457 problem document."""

    type: str = Field(description="Names the kind of problem; stable.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do.")
    request_id: str
    errors: list[FieldProblem] = []


class BatchResponse(Answer):
    """An answer or a problem per search, in their order."""

    request_id: str
    results: list[SearchResponse | Problem]


class EventResponse(Answer):
    """The event is on the disk."""

    request_id: str


class Attribute(Answer):
    """An attribute that filters may name."""

    name: str
    holds: str


class Model(Answer):
    """One loaded variant."""

    variant: str
    model: str
    created: str
    revision: str
    epoch: str
    items: int
    sids: int
    fill: float | None = Field(
        description="Items returned per item asked for, mean of this process's last 1,000 searches, or null."
    )
    codebook_sizes: list[int]
    beam_widths: list[int]
    provider: str
    precisions: list[str] = Field(description="In what the graph of each beam width computes.")
    ordering: dict[str, float]
    metrics: dict[str, Any]
    attributes: list[Attribute]


class ModelsResponse(Answer):
    """What is served."""

    models: list[Model]
    examples: list[str] = Field(description="Queries to try.")


class Namespace(Answer):
    """Experiments that share a namespace and no range of it share no callers."""

    name: str
    ranges: list[tuple[float, float]] = Field(description="What of it the experiment has, from 0 to 1.")


class RunningExperiment(Answer):
    """A rule that divides callers up, or that interleaves."""

    key: str
    feature: str = Field(description="The layer: what the experiment sets.")
    variations: list[Any] = Field(description="Values of the feature, in the order of their indexes.")
    shares: list[float] = Field(description="Of the callers whom the experiment concerns, by variation.")
    coverage: float = Field(description="Share of the callers that it concerns, of those in its namespaces.")
    namespaces: list[Namespace]
    condition: dict[str, Any] | None = Field(description="Whom it concerns, by attributes; null for all.")
    hash_attribute: str = Field(description="What keeps its variation.")
    not_loaded: list[str] = Field(description="Variants that it names and nobody gets.")


class ExperimentsResponse(Answer):
    """How variants are assigned."""

    variants: list[str] = Field(description="Those that are loaded.")
    default: str = Field(description="The variant of callers whom no rule and no share concerns.")
    experiments: list[RunningExperiment]
    features: dict[str, Any] = Field(description="Of GrowthBook, as they came.")
    problem: str = Field(description="Why newer features are not in force; empty where these are the newest.")


class Status(Answer):
    """How the service is."""

    status: str
