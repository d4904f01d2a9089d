"""What the service answers; fields that a newer service adds are ignored."""

from pydantic import BaseModel, ConfigDict, JsonValue


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Item(Answer):
    """One item found."""

    item_id: str
    score: float
    sid: tuple[int, ...]
    title: str
    attributes: dict[str, JsonValue]


class Timings(Answer):
    """Milliseconds of each stage; total is what the service took, not the network."""

    tokenize: float
    queue: float
    decode: float
    items: float
    total: float


class Interleaved(Answer):
    """Two variants that share an answer.

    Attributes:
        variants: both.
        teams: of each item, 0 or 1 for the variant that put it there, None for none or both.
    """

    variants: tuple[str, ...]
    teams: tuple[int | None, ...]


class SearchAnswer(Answer):
    """Items that answer a query, best first.

    Attributes:
        request_id: send it with the events that the answer leads to.
        exhausted: fewer than the asked items exist.
        degraded: what was away or spared.
        cached: whether the same was asked before.
        explanation: where it was asked for, as the API documents it.
        interleaved: where the items are those of two variants.
    """

    request_id: str
    items: tuple[Item, ...]
    requested: int
    returned: int
    exhausted: bool
    degraded: tuple[str, ...]
    cached: bool
    variant: str
    model: str
    epoch: str
    timings_ms: Timings
    explanation: dict[str, JsonValue] | None = None
    interleaved: Interleaved | None = None


class FieldProblem(Answer):
    """What is wrong with one part of a request; ``pointer`` is a JSON pointer into the body."""

    pointer: str
    detail: str


class Problem(Answer):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: tuple[FieldProblem, ...] = ()

    @property
    def kind(self) -> str:
        """The last part of the type, such as ``rate-limited``."""
        return self.type.rpartition(":")[2]

    @property
    def is_of_radsearch(self) -> bool:
        """Whether the service itself says so; else something between it and us does."""
        return self.type.startswith("urn:radsearch:problem:")


class BatchAnswer(Answer):
    """An answer or a problem per search, in their order."""

    request_id: str
    results: tuple[SearchAnswer | Problem, ...]


class EventAnswer(Answer):
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
    fill: float | None
    codebook_sizes: tuple[int, ...]
    beam_widths: tuple[int, ...]
    provider: str
    precisions: tuple[str, ...]
    ordering: dict[str, float]
    metrics: dict[str, JsonValue]
    attributes: tuple[Attribute, ...]


class Models(Answer):
    """What is served, and queries to try."""

    models: tuple[Model, ...]
    examples: tuple[str, ...]


class Namespace(Answer):
    """Experiments that share one and no range of it share no callers."""

    name: str
    ranges: tuple[tuple[float, float], ...]


class RunningExperiment(Answer):
    """What divides callers up, or interleaves; see the API for its fields."""

    key: str
    feature: str
    variations: tuple[JsonValue, ...]
    shares: tuple[float, ...]
    coverage: float
    namespaces: tuple[Namespace, ...]
    condition: dict[str, JsonValue] | None
    hash_attribute: str
    not_loaded: tuple[str, ...]


class Experiments(Answer):
    """How variants are assigned.

    Attributes:
        variants: that are loaded.
        default: the one of callers whom no rule and no share concerns.
        features: of GrowthBook, as they came.
        problem: why newer features are not in force; empty where these are the newest.
    """

    variants: tuple[str, ...]
    default: str
    experiments: tuple[RunningExperiment, ...]
    features: dict[str, JsonValue]
    problem: str


class ValueCount(Answer):
    """A value, and how many items on offer have it."""

    value: str | bool | int | float
    items: int


class AttributeValues(Answer):
    """What an attribute holds over the items on offer."""

    name: str
    holds: str
    items: int
    values: int
    most_frequent: tuple[ValueCount, ...]
    deciles: tuple[float, ...]


class Attributes(Answer):
    """What filters may ask for."""

    variant: str
    epoch: str
    items: int
    attributes: tuple[AttributeValues, ...]


class SidPrefix(Answer):
    """What lies under a prefix of SIDs."""

    prefix: tuple[int, ...]
    items: int
    sids: int
    titles: tuple[str, ...]
    words: tuple[str, ...]


class SidTitles(Answer):
    """What prefixes mean, in their order."""

    variant: str
    epoch: str
    prefixes: tuple[SidPrefix, ...]


class SidItem(Answer):
    """An item under a prefix."""

    item_id: str
    title: str
    attributes: dict[str, JsonValue]


class Sids(Answer):
    """A prefix, the codes that may follow it, and the items of a whole SID."""

    variant: str
    epoch: str
    codebook_sizes: tuple[int, ...]
    node: SidPrefix
    children: tuple[SidPrefix, ...]
    codes: int
    items: tuple[SidItem, ...]


class SidLevel(Answer):
    """How well the codes of one level are used."""

    codebook_size: int
    utilisation: float
    perplexity: float
    evenness: float
    largest_share: float
    prefixes: int
    branching_mean: float
    branching_max: int
    items_per_code: tuple[int, ...]


class SidReport(Answer):
    """How well the SIDs of a catalogue are spread."""

    variant: str
    epoch: str
    items: int
    sids: int
    items_per_sid_mean: float
    items_per_sid_max: int
    collision_share: float
    hourglass: float
    levels: tuple[SidLevel, ...]
    crowded: tuple[SidPrefix, ...]


class Catalogue(Answer):
    """Where a catalogue comes from; None is the variant's own bundle."""

    bundle: str | None


class VariantState(Answer):
    """One variant and what it searches."""

    variant: str
    bundle: str | None
    model: str
    catalogue: Catalogue
    previous_catalogue: Catalogue | None
    epoch: str
    items: int
    share: float


class State(Answer):
    """What the replica that answered offers; see the admin API's document."""

    version: int
    problem: str | None
    variants: tuple[VariantState, ...]
    shares: dict[str, float]
    previous_shares: dict[str, float] | None
    delisted: int
    upserts: int
    bytes: int
    max_bytes: int


class Relisted(State):
    """What is offered, and given items that are in no catalogue."""

    unknown: tuple[str, ...]
