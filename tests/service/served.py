"""A service in a process of its own."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx


class Served:
    """``radsearch serve`` in a process of its own.

    Attributes:
        process: of the service.
        log: file of its standard error.
        client: talks to it.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout is not None
        announced = process.stdout.readline()
        assert announced, log.read_text()
        self.client = httpx.Client(base_url=json.loads(announced)["url"], timeout=30)

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def search(self, query: str = "red shoes", **fields: Any) -> httpx.Response:
        return self.client.post("/v1/search", json={"query": query, **fields})

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))
        )

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)
