"""Bearer keys: how they are made, kept and followed while the service runs.

The file holds hashes alone, one table per key:

    [[keys]]
    name = "ops"
    scope = "admin"
    sha256 = "9f86d0…"
    revoked = 2026-11-25   # once it no longer counts

A key is 256 random bits, which nobody can guess or list, so one plain SHA-256 keeps it: the slow, salted
hashes that passwords need defend what people choose, and would let anyone keep the event loop busy.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ServiceError
from service.files import replace_text
from service.metrics import Metrics

PREFIX = "radsearch"  # tells people, and scanners of leaked secrets, what they have found
RANDOM_BYTES = 32
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
LOOK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Scope(StrEnum):
    """What a key allows; none allows what another does."""

    SEARCH = "search"
    ADMIN = "admin"


class Key(BaseModel):
    """What is kept of a key.

    A revoked one stays in the file: without it the last search key's end would open the search to everyone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    scope: Scope
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    revoked: date | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[Key, ...] = Field(min_length=1)


@dataclass(frozen=True)
class KeySet:
    """The keys of one state of the file; without a file there are none."""

    keys: tuple[Key, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a keys file.

        Raises:
            ValueError: if it is not TOML, not of this form, has no key or a name twice.
        """
        try:
            keys = _File.model_validate(tomllib.loads(text)).keys
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        names = [key.name for key in keys]
        if len(set(names)) < len(names):
            raise ValueError("a name stands there twice")
        return cls(keys)

    def asks_for(self, scope: Scope) -> bool:
        """Whether there has ever been a key of this scope."""
        return any(key.scope is scope for key in self.keys)

    def find(self, secret: str) -> Key | None:
        """The valid key with this secret, found in a time that does not depend on what was sent."""
        hashed = digest(secret)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, hashed) and key.revoked is None:
                found = key
        return found


class KeyRing:
    """The keys in force: those of the file as it was when it was last whole.

    Attributes:
        current: changes as a whole while the service runs.
    """

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """Read the file.

        Raises:
            ServiceError: if it cannot be used.
        """
        self._path = path
        self._metrics = metrics
        self._text = ""
        self.current = KeySet()
        self._watching: asyncio.Task[None] | None = None
        if path is not None:
            self._text = _read(path)
            self.current = _parse(path, self._text)

    def start(self) -> None:
        """Follow the file from now on."""
        if self._path is not None:
            self._watching = asyncio.create_task(self._watch(self._path))

    async def close(self) -> None:
        """Follow it no longer."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching

    async def _watch(self, path: Path) -> None:
        """Take each new state of the file over; one that cannot be used leaves the keys as they are."""
        complaint = ""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                text = await asyncio.to_thread(_read, path)
                if text != self._text or complaint:
                    self.current = _parse(path, text)
                    self._text = text
                    logger.info("keys read", extra={"keys": [key.name for key in self.current.keys]})
                complaint = ""
            except ServiceError as error:
                if str(error) != complaint:
                    logger.error("the keys before stay in force: %s", error)
                complaint = str(error)
            self._metrics.keys_stale.set(bool(complaint))


def digest(secret: str) -> str:
    """What the file keeps of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def add_key(path: Path, scope: Scope, name: str) -> str:
    """Make a key and write its hash into a keys file, which is made where there is none.

    Returns:
        The key; it is kept nowhere.

    Raises:
        ServiceError: if the file cannot be used, has a key of this name, or the name cannot be one.
    """
    if not re.fullmatch(NAME, name):
        raise ServiceError(f"{name!r} cannot name a key; use letters, digits, '.', '_' and '-', 64 at most")
    keys = _parse(path, _read(path)).keys if path.exists() else ()
    if any(key.name == name for key in keys):
        raise ServiceError(f"{path} has a key {name!r}; choose another name")
    secret = f"{PREFIX}_{scope}_{secrets.token_urlsafe(RANDOM_BYTES)}"
    _write(path, (*keys, Key(name=name, scope=scope, sha256=digest(secret))))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Let a key count no longer, from today.

    Raises:
        ServiceError: if the file cannot be used or has no such key.
    """
    keys = _parse(path, _read(path)).keys
    if all(key.name != name for key in keys):
        raise ServiceError(f"{path} has no key {name!r}; it has {', '.join(key.name for key in keys)}")
    today = date.today()
    _write(
        path, tuple(key.model_copy(update={"revoked": today}) if key.name == name else key for key in keys)
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(
            f"cannot read keys from {path} ({error}); make the file with: radsearch key new"
        ) from error


def _parse(path: Path, text: str) -> KeySet:
    try:
        return KeySet.parse(text)
    except ValueError as error:
        raise ServiceError(f"{path} is no keys file ({error}); mend it") from error


def _write(path: Path, keys: tuple[Key, ...]) -> None:
    """Replace the file, which nobody else may read."""
    tables = []
    for key in keys:
        lines = [f'name = "{key.name}"', f'scope = "{key.scope}"', f'sha256 = "{key.sha256}"']
        lines += [f"revoked = {key.revoked}"] if key.revoked else []
        tables.append("\n".join(["[[keys]]", *lines, ""]))
    try:
        replace_text(path, "\n".join(tables), mode=0o600)
    except OSError as error:
        raise ServiceError(f"cannot write keys to {path} ({error.strerror}); choose another place") from error
