"""The one error of this room; ``problems`` derives those that answer a request."""

from sid.errors import RadsearchError


class ServiceError(RadsearchError):
    """A service that cannot start, or a request it cannot answer; the message says what to do."""
