"""A service in the tests' own process, behind real HTTP."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from operator import methodcaller
from typing import Any, Self, TypeVar

import httpx

from service.app import create_app
from service.server import DrainingServer, listen, url_of
from service.settings import ServiceSettings
from service.state import Service

Answer = TypeVar("Answer")


class Running:
    """A service behind real HTTP, on an event loop in a thread of its own.

    Attributes:
        app: the application, for a look inside.
        client: talks to it.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.app = create_app(settings)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._listener = listen(settings.host, settings.port)
        self._server = DrainingServer(self.app, settings.drain_s, announce=self._ready.set)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self._server.serve_app(self._listener)

    def __enter__(self) -> Self:
        url = url_of(self._listener)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            self._listener.close()
            raise self._error
        self.client = httpx.Client(base_url=url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.loop.call_soon_threadsafe(partial(self._server.stop, at_once=True))
        self._thread.join()
        self._listener.close()

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    @property
    def service(self) -> Service:
        return self.app.state.service

    def search(self, query: str = "red running shoes", **fields: Any) -> dict[str, Any]:
        """The answer to a search that must succeed."""
        response = self.client.post("/v1/search", json={"query": query, **fields})
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str, **labels: str) -> float:
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def change(self, name: str, *arguments: Any) -> None:
        """Offer what a method of the present offer makes."""
        self.wait(self.service.catalogue.change(methodcaller(name, *arguments)))

    def call(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call a function on the service's event loop."""

        async def called() -> Answer:
            return function(*arguments)

        return self.wait(called())

    def wait(self, change: Coroutine[Any, Any, Answer]) -> Answer:
        """The result of a coroutine that runs on the service's event loop."""
        return asyncio.run_coroutine_threadsafe(change, self.loop).result()
