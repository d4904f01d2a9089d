"""Who may do what: endpoints ask for a scope, a bearer key grants it."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key allows."""

    SEARCH = "search"
    ADMIN = "admin"
