"""What goes wrong in this room."""


class LoadtestError(Exception):
    """A mistake in the load test's input; the message is one sentence that says what to do."""
