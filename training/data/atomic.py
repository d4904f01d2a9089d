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
    if target.exists() and not (target / marker).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists and has no {marker}; choose another --out or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror}); choose another --out") from error
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the result from other users
        yield temporary
        _replace(target, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(target: Path, whole: Path) -> None:
    if not target.exists():
        whole.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent)) / target.name
    target.rename(old)
    whole.rename(target)
    shutil.rmtree(old.parent)
