"""Whether the service wants new requests."""


class Readiness:
    """Off while the service starts and while it drains; load balancers look at it."""

    def __init__(self) -> None:
        self._state = "starting"

    @property
    def state(self) -> str:
        """``starting``, ``ready`` or ``draining``."""
        return self._state

    @property
    def is_ready(self) -> bool:
        """Whether new requests are welcome."""
        return self._state == "ready"

    @property
    def is_draining(self) -> bool:
        """Whether clients shall take their next request elsewhere."""
        return self._state == "draining"

    def open(self) -> None:
        """Everything is loaded."""
        self._state = "ready"

    def drain(self) -> None:
        """The service is going to stop."""
        self._state = "draining"
