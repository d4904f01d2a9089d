"""Servers that answer by a script, among it what a service does not do."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from radsearch.client import Client


def receive(connection: socket.socket) -> str:
    """A request with its body, or what came of it."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        head, is_whole, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if is_whole and len(body) >= int(length[1] if length else 0):
            break
    return received.decode()


class Scripted:
    """A server that treats each connection in one way.

    Attributes:
        requests: what came, one text per connection that sent anything.
    """

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self.requests: list[str] = []
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._listener.getsockname())

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                if request := receive(connection):
                    self.requests.append(request)
                    self._behave(connection)

    def __enter__(self) -> "Scripted":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def page(text: str, status: str = "200 OK") -> bytes:
    """A whole answer, after which the connection ends."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()


def hang_up(_: socket.socket) -> None:
    """Answer nothing."""


@contextmanager
def answering(text: str, status: str = "200 OK") -> Iterator[tuple[Scripted, Client]]:
    """A server that answers everything alike, and a client of it."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(page(text, status))

    with Scripted(answer) as server, Client(server.url, deadline_s=1) as client:
        yield server, client
