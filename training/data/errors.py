"""What is wrong with a user's data files."""

from sid.errors import RadsearchError


class DataError(RadsearchError):
    """A data file or directory that cannot be used as it is; the message says where and what to do."""
