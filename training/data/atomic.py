"""Write a directory whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.data.errors import DataError


@contextmanager
def written_whole(target: Path, marker: str) -> Iterator[Path]:
    """Give a temporary directory beside ``target`` that takes its place when the block ends without an error.

    After an error the temporary directory is gone and the target is as it was.

    Args:
        target: the directory to make or to replace.
        marker: a file that such a directory has; one that has files but not this one is not replaced.

    Raises:
        DataError: if the target holds something else or cannot be written.
    """
    check_replaceable(target, marker)
    with scratch_beside(target) as scratch:
        made = scratch / "new"
        made.mkdir()
        yield made
        _replace(target, made, scratch / "old")


@contextmanager
def scratch_beside(target: Path) -> Iterator[Path]:
    """Give a temporary directory in the directory of ``target``; it is gone when the block ends.

    Raises:
        DataError: if nothing can be written there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror}); choose another --out") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_replaceable(target: Path, marker: str) -> None:
    """Make sure, before long work for it begins, that a directory may be made at ``target``.

    Raises:
        DataError: if there is something else than an older such directory, known by its ``marker``.
    """
    if target.exists() and not (target / marker).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and has no {marker}; choose another --out or remove it")


def _replace(target: Path, made: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    try:
        made.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
