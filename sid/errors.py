"""The one base of all errors that a user can mend, and the room's own."""


class RadsearchError(Exception):
    """A mistake in input, files or settings; the message is one sentence that says what to do.

    Each room derives its own type from it; the command line prints the message and exits with 1.
    """


class SidError(RadsearchError):
    """A file of SIDs, codebooks or embedder arrays that cannot be read as such."""
