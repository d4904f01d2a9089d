"""A typed client of the service, for callers without it: neither torch nor a web framework is imported.

>>> with Client("http://127.0.0.1:8000", key="rs_search_…") as client:
...     answer = client.search("red running shoes", k=10, filters={"price": {"lte": 80}})
"""

from radsearch.client.answers import (
    Attributes,
    AttributeValues,
    Catalogue,
    Experiments,
    FieldProblem,
    Item,
    Model,
    Models,
    Problem,
    Relisted,
    SearchAnswer,
    SidLevel,
    SidPrefix,
    SidReport,
    Sids,
    SidTitles,
    State,
    Timings,
    ValueCount,
    VariantState,
)
from radsearch.client.asynchronous import AsyncClient
from radsearch.client.calls import NewItem, Search, SearchOptions
from radsearch.client.errors import (
    BadAnswerError,
    ClientError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    NoAnswerError,
    OverloadedError,
    ProblemError,
    UnauthorizedError,
    UnavailableError,
)
from radsearch.client.synchronous import Client

__all__ = [
    "AsyncClient",
    "AttributeValues",
    "Attributes",
    "BadAnswerError",
    "Catalogue",
    "Client",
    "ClientError",
    "ConflictError",
    "DeadlineError",
    "Experiments",
    "FieldProblem",
    "ForbiddenError",
    "InvalidRequestError",
    "Item",
    "Model",
    "Models",
    "NewItem",
    "NoAnswerError",
    "OverloadedError",
    "Problem",
    "ProblemError",
    "Relisted",
    "Search",
    "SearchAnswer",
    "SearchOptions",
    "SidLevel",
    "SidPrefix",
    "SidReport",
    "SidTitles",
    "Sids",
    "State",
    "Timings",
    "UnauthorizedError",
    "UnavailableError",
    "ValueCount",
    "VariantState",
]
