"""Where the features come from that say what callers get, and how the service follows them while it runs."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import aiohttp

from service.errors import ServiceError
from service.files import replace_text
from service.metrics import Metrics
from service.rules import Rules
from service.settings import ServiceSettings

LOOK_EVERY_S = 1.0
FETCH_TIMEOUT_S = 10.0
MAX_BYTES = 16 << 20

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where a payload lies; written as a string it says where.

    Attributes:
        interval_s: how often to look, in seconds.
        is_ours: whether it is there for this service alone: it must be there, and all of it must make sense.
    """

    interval_s: float
    is_ours: bool

    async def read(self) -> str:
        """The payload as it is now.

        Raises:
            ServiceError: if it cannot be had.
        """


class FeaturesFile:
    """A file that somebody writes."""

    interval_s, is_ours = LOOK_EVERY_S, True

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    async def read(self) -> str:
        """As in :class:`Source`."""
        try:
            return await asyncio.to_thread(self._path.read_text, encoding="utf-8")
        except FileNotFoundError as error:
            raise ServiceError(f"{self} not found; pass --experiments FILE or leave it out") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ServiceError(f"cannot read {self} ({error})") from error


class FeaturesServer:
    """A GrowthBook server or proxy, or what answers as they do.

    The SDK would ask one, too, but says nothing when that fails and takes over what comes without a look.
    """

    is_ours = False

    def __init__(self, url: str, client_key: str, interval_s: float) -> None:
        """Ask nothing yet.

        Args:
            url: of the server, up to ``/api/features``.
            client_key: of the SDK connection; in no message.
            interval_s: how often to look, in seconds.
        """
        self.interval_s = interval_s
        self._url = url.rstrip("/")
        self._address = f"{self._url}/api/features/{client_key}"
        self._etag, self._text = "", ""

    def __str__(self) -> str:
        return self._url

    async def read(self) -> str:
        """As in :class:`Source`."""
        headers = {"If-None-Match": self._etag} if self._etag else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(FETCH_TIMEOUT_S)) as session,
                session.get(self._address, headers=headers) as response,
            ):
                if response.status == HTTPStatus.NOT_MODIFIED:
                    return self._text
                if response.status != HTTPStatus.OK:
                    raise ServiceError(f"{self} answers {response.status} when asked for features")
                text = await self._body(response)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServiceError(f"{self} tells no features ({type(error).__name__})") from error
        self._etag, self._text = response.headers.get("ETag", ""), text
        return text

    async def _body(self, response: aiohttp.ClientResponse) -> str:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                raise ServiceError(f"{self} sends more than {MAX_BYTES:,} bytes of features")
        return body.decode()


def source_of(settings: ServiceSettings) -> Source | None:
    """Where the settings say that the features are; None where they say nothing."""
    if settings.experiments is not None:
        return FeaturesFile(settings.experiments)
    if settings.growthbook_url is not None and settings.growthbook_client_key is not None:
        client_key = settings.growthbook_client_key.get_secret_value()
        return FeaturesServer(settings.growthbook_url, client_key, settings.growthbook_refresh_s)
    return None


class Features:
    """The rules in force: those of the source as it was when it could last be used.

    Attributes:
        rules: change as a whole while the service runs.
        problem: why the source as it is now cannot be used; empty where it can.
    """

    def __init__(
        self, source: Source | None, cache: Path | None, accept: Callable[[Rules], None], metrics: Metrics
    ) -> None:
        """Have no rules yet.

        Args:
            source: of the payload; None has no rules.
            cache: file that keeps what came last, for a start while the source is away.
            accept: raises a ServiceError for rules that shall not come into force.
            metrics: told while the source cannot be used.
        """
        self.rules = Rules.none()
        self.problem = ""
        self._source = source
        self._cache = cache
        self._accept = accept
        self._metrics = metrics
        self._text = ""
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the source, or else the cache, and follow the source from now on.

        Raises:
            ServiceError: if the source is ours and cannot be used.
        """
        if self._source is None:
            return
        await self._look(self._source)
        if self.problem and self._source.is_ours:
            raise ServiceError(self.problem)
        if self.problem and self._cache is not None:
            await self._recall(self._cache)
        self._following = asyncio.create_task(self._follow(self._source))

    async def close(self) -> None:
        """Follow the source no longer."""
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following

    async def _follow(self, source: Source) -> None:
        while True:
            await asyncio.sleep(source.interval_s)
            await self._look(source)

    async def _look(self, source: Source) -> None:
        """Take over what the source says now; what cannot be used leaves the rules as they are."""
        problem = ""
        try:
            text = await source.read()
            if text != self._text:
                await self._use(text, source)
                logger.info("features read", extra={"source": str(source)})
                await self._remember(text)
        except ServiceError as error:
            problem = str(error)
            if problem != self.problem:
                logger.error("the features before stay in force: %s", problem)
        self.problem = problem
        self._metrics.features_stale.set(bool(problem))

    async def _use(self, text: str, source: object) -> None:
        try:
            rules = await Rules.read(text)
        except ValueError as error:
            raise ServiceError(f"{source} holds no features that can be used ({error}); mend it") from error
        self._accept(rules)
        self.rules, self._text = rules, text

    async def _recall(self, cache: Path) -> None:
        try:
            await self._use(await FeaturesFile(cache).read(), cache)
            logger.info("features read", extra={"source": str(cache)})
        except ServiceError as error:
            logger.warning("no features to begin with: %s", error)

    async def _remember(self, text: str) -> None:
        if self._cache is None:
            return
        try:
            await asyncio.to_thread(replace_text, self._cache, text)
        except OSError as error:
            logger.warning("cannot keep the features in %s: %s", self._cache, error)
