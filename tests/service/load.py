"""A service under load."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import httpx

from tests.service.shop import COLOURS


@dataclass(frozen=True)
class Outcome:
    """What became of one search, with times by ``time.monotonic``; ``error`` is empty where it succeeded."""

    sent: float
    ended: float
    error: str
    degraded: tuple[str, ...] = ()


class Clients(ABC):
    """Threads that each use a service over and over, from when the context is entered.

    Args:
        url: of the service.
        n_clients: how many threads.
    """

    def __init__(self, url: str, n_clients: int) -> None:
        self._url = url
        self._numbers = count()  # for searches of which no two are alike
        self._threads = [threading.Thread(target=self._run) for _ in range(n_clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    @abstractmethod
    def _run(self) -> None:
        """What one client does until it has an end."""


class Load(Clients):
    """Clients that send search after search, no two alike, each when its last one has ended.

    With ``leave_when_told`` they do what a load balancer does: they send no more to a server that says
    ``Connection: close``.

    Attributes:
        outcomes: of all searches that have ended.
    """

    def __init__(self, url: str, n_clients: int, leave_when_told: bool, fields: dict[str, Any]) -> None:
        super().__init__(url, n_clients)
        self._leave_when_told = leave_when_told
        self.outcomes: list[Outcome] = []
        self._fields = fields
        self._stopped = threading.Event()

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        super().__exit__(*exception)

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stopped.is_set():
                body = {"query": f"{COLOURS[0]} {next(self._numbers)} shoes", **self._fields}
                sent, error, degraded, is_told = time.monotonic(), "", (), False
                try:
                    response = client.post("/v1/search", json=body)
                    is_told = response.headers.get("connection") == "close"
                    if response.status_code == 200:
                        degraded = tuple(response.json()["degraded"])
                    else:
                        error = str(response.status_code)
                except httpx.TransportError as reason:
                    error = type(reason).__name__
                self.outcomes.append(Outcome(sent, time.monotonic(), error, degraded))
                if is_told and self._leave_when_told:
                    return
                if error:
                    time.sleep(0.05)  # who is refused at once shall not keep the machine busy

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]

    def until(self, holds: Callable[[Outcome], bool], within_s: float = 30) -> Outcome:
        """The first search sent from now on of which that holds."""
        began = time.monotonic()
        while time.monotonic() < began + within_s:
            for outcome in self.outcomes[-200:]:
                if outcome.sent >= began and holds(outcome):
                    return outcome
            time.sleep(0.01)
        raise AssertionError(f"not within {within_s} s")
