"""An application that decodes and does nothing else: what a web server and a thread add to an engine.

It runs as ``python -m benchmarks.serving.empty BUNDLE BEAM_WIDTH PROVIDER``, says where it listens, and
serves until it is told to stop.
"""

import asyncio
import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.serving.bare import BareEngine
from service.server import url_of

TURN_S = 600  # in which a connection may be idle, while the others take theirs
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"{}"}


class Empty:
    """Reads a query, has it decoded in a thread of its own, and answers with nothing.

    Args:
        engine: that decodes.
    """

    def __init__(self, engine: BareEngine) -> None:
        self._engine = engine
        self._device = ThreadPoolExecutor(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whose body is a search."""
        message = await receive()
        query = self._engine.read(json.loads(message["body"])["query"])
        await asyncio.get_running_loop().run_in_executor(self._device, self._engine.search, [query])
        await send(HEAD)
        await send(BODY)


def main() -> None:
    """Serve a bundle, as the service does: with uvicorn, httptools and uvloop."""
    path, beam_width, provider = sys.argv[1:]
    engine = BareEngine(Path(path), int(beam_width), 1, "cuda" if provider == "cuda" else "cpu")
    app = Empty(engine)
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=TURN_S,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"url": url_of(listener)}), flush=True)
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
