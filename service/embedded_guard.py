"""A process that ends the embedded Valkey when the service is gone, however it went.

The service holds the other end of this process's standard input. The kernel closes that end with the service,
after ``kill -9`` as well, when no code of the service runs any more.
"""

import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path


def guard(directory: Path) -> None:
    """Wait for the service's end, then stop the server in its directory and remove that."""
    sys.stdin.buffer.read()
    with suppress(OSError), socket.socket(socket.AF_UNIX) as server:
        server.settimeout(5)
        server.connect(str(directory / "valkey.sock"))
        server.sendall(b"SHUTDOWN NOSAVE\r\n")
        server.recv(1)  # nothing: it hangs up
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
