"""What the event log keeps when its service ends: real processes under load, real signals."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.load import Clients
from tests.service.waiting import until

FSYNC_S = 1.0  # what one write and fsync may take on a busy machine


class Shoppers(Clients):
    """Clients that search, click the first item and search again, until the service is gone.

    Attributes:
        searches: request_id of every answer, with the time by ``time.monotonic`` when it came.
        clicks: event_id of every click that was answered with 202.
        failed: what was refused or broke off.
    """

    def __init__(self, url: str, n_clients: int = 6) -> None:
        super().__init__(url, n_clients)
        self.searches: dict[str, float] = {}
        self.clicks: list[str] = []
        self.failed: list[str] = []

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            try:
                while self._shop(client):
                    pass
            except httpx.TransportError as error:
                self.failed.append(type(error).__name__)

    def _shop(self, client: httpx.Client) -> bool:
        """One search and one click; whether the service goes on."""
        number = next(self._numbers)
        found = client.post("/v1/search", json={"query": f"red {number} shoes", "user_id": f"u{number % 50}"})
        found.raise_for_status()
        answer = found.json()
        self.searches[answer["request_id"]] = time.monotonic()
        if found.headers.get("connection") == "close":
            return False
        click = {
            "request_id": answer["request_id"],
            "type": "click",
            "item_id": answer["items"][0]["item_id"],
        }
        taken = client.post("/v1/events", json={**click, "event_id": f"click-{number}"})
        taken.raise_for_status()
        self.clicks.append(f"click-{number}")
        return taken.headers.get("connection") != "close"


def logged(directory: Path) -> tuple[set[str], list[str]]:
    """request_ids of the searches and event_ids of the clicks; the last line of a file may be half a line."""
    lines = [
        json.loads(line)
        for file in directory.glob("events-*.jsonl")
        for line in file.read_text().split("\n")[:-1]
    ]
    searches = {line["request_id"] for line in lines if line["type"] == "search"}
    return searches, [line["event_id"] for line in lines if line["type"] == "click"]


def first_of(shoppers: Shoppers) -> float:
    """When the first search was answered."""
    return next(iter(shoppers.searches.values()))


@pytest.mark.parametrize(
    "flush_ms", [pytest.param(0, marks=pytest.mark.slow), 300], ids=["each-group", "every-300-ms"]
)
def test_kill_9_takes_no_more_than_the_window(
    serve: Any, bundles: Path, tmp_path: Path, flush_ms: int
) -> None:
    small = {"RADSEARCH_EVENT_LOG_FLUSH_MS": str(flush_ms), "RADSEARCH_EVENT_LOG_FILE_BYTES": "50000"}
    window = flush_ms / 1000 + FSYNC_S
    with serve("--bundle", bundles / "sft", **small) as served, Shoppers(served.url) as shoppers:
        until(lambda: shoppers.searches)
        until(lambda: len(shoppers.clicks) > 60 and time.monotonic() - first_of(shoppers) > 2 * window)
        killed = time.monotonic()
        served.process.kill()
    searches, clicks = logged(tmp_path / "events")
    assert set(shoppers.clicks) <= set(clicks), "what was answered with 202 is on the disk"
    safe = {each for each, at in shoppers.searches.items() if at < killed - window}
    assert safe
    assert safe <= searches
    assert len(clicks) == len(set(clicks))
    print({"searches": len(shoppers.searches), "lost": len(set(shoppers.searches) - searches)})


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("flush_ms", [0, 5_000])
def test_sigterm_loses_nothing(
    serve: Any, bundles: Path, tmp_path: Path, flush_ms: int, processes: int
) -> None:
    environment = {"RADSEARCH_EVENT_LOG_FLUSH_MS": str(flush_ms), "RADSEARCH_DRAIN_S": "1"}
    options = ("--bundle", bundles / "sft", "--processes", processes)
    with serve(*options, **environment) as served, Shoppers(served.url) as shoppers:
        until(lambda: len(shoppers.searches) > 6)
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.process.wait(timeout=60) == 0
    searches, clicks = logged(tmp_path / "events")
    assert shoppers.failed == []
    assert set(shoppers.searches) == searches
    assert sorted(shoppers.clicks) == sorted(clicks)
