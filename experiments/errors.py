"""The error of this room."""

from sid import RadsearchError


class ExperimentError(RadsearchError):
    """An event log or a request from which no report can be made."""
