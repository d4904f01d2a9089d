"""One of the processes of ``radsearch serve --processes``; :mod:`service.supervisor` starts it.

It inherits the listening socket, whose number is its argument. On standard input comes one line with the
settings, then nothing until the supervisor ends; on standard output goes one line, ``{}`` when it serves, or
its ``error``.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys

import uvloop
from pydantic import SecretStr

from service import logs
from service.app import create_app
from service.metrics import MULTIPROCESS
from service.server import run
from service.settings import ServiceSettings
from sid import RadsearchError


def settings_line(settings: ServiceSettings) -> bytes:
    """All settings, with the secrets among them, for :func:`read_settings`."""

    def plain(value: object) -> str:
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    return json.dumps(settings.model_dump(), default=plain).encode() + b"\n"


def read_settings(line: bytes) -> ServiceSettings:
    """The settings of a line; the environment changes none of them."""
    return ServiceSettings(**json.loads(line))


def main() -> None:
    """Serve until told to stop, or until the supervisor is gone."""
    settings = read_settings(sys.stdin.buffer.readline())
    logs.configure(settings.log_level)
    try:
        with socket.socket(fileno=int(sys.argv[1])) as listener:
            uvloop.run(_serve(settings, listener))
    except RadsearchError as error:
        _tell({"error": str(error)})
        sys.exit(1)


async def _serve(settings: ServiceSettings, listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    is_orphan = False

    def orphaned() -> None:
        nonlocal is_orphan
        is_orphan = True
        loop.remove_reader(sys.stdin)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(sys.stdin, orphaned)
    await run(create_app(settings), listener, settings.drain_s, announce=lambda: _tell({}))
    if is_orphan:  # nobody else does it any more
        shutil.rmtree(os.environ[MULTIPROCESS], ignore_errors=True)


def _tell(message: dict[str, str]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
