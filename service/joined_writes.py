"""An answer's header goes out along with its body."""

import asyncio


class JoinedWrites:
    """A transport that holds what is written back until more comes, at most for a turn of the event loop.

    uvicorn writes the header and the body of an answer apart. Each would be a system call here, and for the
    client a packet to wake up for, of which the first tells it nothing.

    Args:
        transport: of the connection.
        loop: that it belongs to.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._flush_soon: asyncio.Handle | None = None

    def write(self, data: bytes) -> None:
        """Hold the first of several writes back; send it with the second."""
        if not data:
            return
        if self._held:
            data = self._held + data
            self._release()
            self._transport.write(data)
        else:
            self._held = data
            self._flush_soon = self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Send what is held and close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._release()
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be taken by the client."""
        return len(self._held) + self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on taking from the client."""
        self._transport.resume_reading()

    def _flush(self) -> None:
        data = self._held
        self._release()
        if data:
            self._transport.write(data)

    def _release(self) -> None:
        self._held = b""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
