"""The one error of this room."""

from sid.errors import RadsearchError


class ExportError(RadsearchError):
    """A checkpoint that cannot become a bundle: it does not fit the data, or its graph fails the proof."""
