"""How much a request may ask for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from service.columns import Column
from service.live import LiveCatalogue
from service.problems import InvalidRequestError
from service.schemas import BatchRequest, Condition, SearchRequest
from service.settings import ServiceSettings

# One character at least that is no blank, control or format character, no accent without a letter and no sign
# that folds to a blank with an accent. Said in the dialect that Python, JavaScript and JSON Schema share.
_BLANKS = (
    r"\s\x00-\x1f\x7f-\xa0\xad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
)
_FORMATS = r"\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2"
_ACCENTS = (
    r"\u0300-\u036f\xa8\xaf\xb4\xb8\u02d8-\u02dd\u037a\u0384-\u0385\u1fbd\u1fbf-\u1fc1\u1fcd-\u1fcf\u1fdd-\u1fdf"
    r"\u1fed-\u1fee\u1ffd-\u1ffe\u2017\u203e\ufe49-\ufe4c\uffe3"
)
# Formats beyond U+FFFF stand as themselves: the dialects do not agree on an escape for them.
_FAR = "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
VISIBLE = re.compile(f"[^{_BLANKS}{_FORMATS}{_ACCENTS}{_FAR}]")


@dataclass(frozen=True)
class Limits:
    """Bounds from settings and bundles, the same for every variant, so that no answer depends on luck.

    Attributes:
        max_query_chars, max_k, default_k, max_searches, timeout_ms, max_timeout_ms, max_state_bytes: as in
            the settings.
        catalogue: knows the attributes that filters may name, and how wide every variant can search.
    """

    max_query_chars: int
    max_k: int
    default_k: int
    max_searches: int
    timeout_ms: int
    max_timeout_ms: int
    max_state_bytes: int
    catalogue: LiveCatalogue

    @classmethod
    def of(cls, settings: ServiceSettings, catalogue: LiveCatalogue) -> "Limits":
        """Gather the limits of a service."""
        return cls(
            max_query_chars=settings.max_query_chars,
            max_k=settings.max_k,
            default_k=settings.default_k,
            max_searches=settings.max_searches,
            timeout_ms=settings.timeout_ms,
            max_timeout_ms=settings.max_timeout_ms,
            max_state_bytes=settings.max_state_bytes,
            catalogue=catalogue,
        )

    @property
    def columns(self) -> Mapping[str, type[Column]]:
        """Attributes that every variant can filter, by name."""
        return self.catalogue.columns

    @property
    def max_beam_width(self) -> int:
        """Widest search that every variant has."""
        return self.catalogue.offer.beam_width

    def check_search(self, request: SearchRequest, pointer: str = "") -> None:
        """Refuse a search that cannot be answered or asks for too much.

        Args:
            request: what is asked.
            pointer: JSON pointer to the search in the body.

        Raises:
            InvalidRequestError: naming the field and what it may be.
        """
        if not VISIBLE.search(request.query):
            raise InvalidRequestError(f"{pointer}/query", "has no visible character")
        if len(request.query) > self.max_query_chars:
            raise InvalidRequestError(
                f"{pointer}/query",
                f"has {len(request.query):,} characters, at most {self.max_query_chars} are taken",
            )
        for field, highest in (
            ("k", self.max_k),
            ("beam_width", self.max_beam_width),
            ("timeout_ms", self.max_timeout_ms),
        ):
            value = getattr(request, field)
            if value is not None and not 1 <= value <= highest:
                raise InvalidRequestError(f"{pointer}/{field}", f"is {value}, must be from 1 to {highest}")

        for name, condition in (request.filters or {}).items():
            self._check_condition(name, condition, f"{pointer}/filters/{name}")

    def check_batch(self, request: BatchRequest) -> None:
        """Refuse a batch without searches, with too many, or with one that asks for too much.

        Raises:
            InvalidRequestError: naming the field and its bounds.
        """
        if not 1 <= len(request.searches) <= self.max_searches:
            raise InvalidRequestError(
                "/searches", f"has {len(request.searches)} searches, must have 1 to {self.max_searches}"
            )
        for index, search in enumerate(request.searches):
            self.check_search(search, f"/searches/{index}")

    def _check_condition(self, name: str, condition: Condition, pointer: str) -> None:
        columns = self.columns
        if name not in columns:
            known = ", ".join(columns) or "none"
            raise InvalidRequestError(pointer, f"no attribute of this catalogue; known: {known}")
        column = columns[name]
        if not column.accepts(condition):
            raise InvalidRequestError(pointer, f"does not fit; the attribute holds {column.kind}")
