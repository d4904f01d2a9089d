"""A service in a process of its own, as operators start it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running service.

    Attributes:
        pid: of its process.
        port: where it listens.
    """

    pid: int
    port: int

    @property
    def resident_bytes(self) -> int:
        """Memory of the process."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE

    @property
    def cpu_s(self) -> float:
        """Seconds of cores that the process has used."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(after_name[11]) + int(after_name[12])) / TICKS_PER_S  # utime, stime; man 5 proc


@contextmanager
def serving(bundle: Path, scratch: Path, settings: Mapping[str, object]) -> Iterator[Server]:
    """Serve a bundle; settings are those of ``service.settings`` by name."""
    environment = {f"RADSEARCH_{name.upper()}": str(value) for name, value in settings.items()}
    given = ["serve", "--bundle", f"bench={bundle}", "--port", "0", "--json"]
    with _started(
        ["radsearch", *given, "--event-log", str(scratch / "events")], scratch, environment
    ) as server:
        yield server


@contextmanager
def serving_empty(bundle: Path, scratch: Path, beam_width: int, provider: str) -> Iterator[Server]:
    """Serve a bundle by :mod:`benchmarks.serving.empty`."""
    given = [str(bundle), str(beam_width), provider]
    with _started(["benchmarks.serving.empty", *given], scratch, {}) as server:
        yield server


@contextmanager
def _started(module: list[str], scratch: Path, environment: Mapping[str, str]) -> Iterator[Server]:
    """A module with arguments in a process of its own, whose first line of JSON says where it listens."""
    with (scratch / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    with process, process.stdout as announcement:
        try:
            url = json.loads(announcement.readline())["url"]
            yield Server(process.pid, int(urlsplit(url).port or 0))
        finally:
            process.terminate()
