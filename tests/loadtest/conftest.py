import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def serving(script: str, *arguments: str) -> Iterator[str]:
    """Base address of a server of this directory, which prints its port when it listens."""
    command = [sys.executable, Path(__file__).with_name(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


@pytest.fixture
def shop_url() -> Iterator[str]:
    """A server that answers as the search API does; fresh for every test."""
    with serving("shop_server.py") as url:
        yield url


@pytest.fixture(scope="module")
def slow_url() -> Iterator[str]:
    """A server that answers 100 requests per second at most: two at a time, each in 20 ms."""
    with serving("rated_server.py", "--places", "2", "--service-ms", "20") as url:
        yield url


@pytest.fixture(scope="module")
def stalling_url() -> Iterator[str]:
    """A server that answers at once, but for 400 ms in every 1000 in which it stands still."""
    with serving("rated_server.py", "--stall-ms", "400", "--every-ms", "1000") as url:
        yield url


@pytest.fixture(scope="module")
def silent_url() -> Iterator[str]:
    """A server that searches and says nothing of its catalogue."""
    with serving("rated_server.py") as url:
        yield url
