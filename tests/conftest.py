"""Settings of all tests."""

import gc

from hypothesis import settings

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("radsearch", deadline=None)
settings.load_profile("radsearch")


def pytest_collection_finish() -> None:
    """Keep modules and tests out of garbage collection: they stay, and to look through them takes 0.3 s."""
    gc.freeze()
