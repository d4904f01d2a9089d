"""Ids of people in the event log, by request as keyed hashes."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

PERSONAL = ("user_id", "anonymous_id")


class Pseudonyms:
    """Writes ids of people as they are, or as hashes that only those who know the salt can make again.

    Args:
        salt: secret of any length; None leaves ids as they are. Events of one person join while it stays.
    """

    def __init__(self, salt: str | None) -> None:
        # A key of blake2b has 64 bytes at most, a salt any number.
        self._key = blake2b(salt.encode()).digest() if salt is not None else None

    def applied(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with its ids of people as they are to be written."""
        return {**event, **{name: self._of(event[name]) for name in PERSONAL if event.get(name) is not None}}

    def _of(self, person: str) -> str:
        """The id, or 32 hexadecimal digits."""
        if self._key is None:
            return person
        return blake2b(person.encode(), key=self._key, digest_size=16).hexdigest()
