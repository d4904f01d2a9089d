"""Reports as files."""

import tempfile
from pathlib import Path


def write_whole(target: Path, contents: str, failure: type[Exception]) -> None:
    """Write a file that appears complete or not at all; directories above it are made.

    Args:
        target: the file; an older one is replaced.
        contents: in UTF-8.
        failure: the error of the room whose report it is.

    Raises:
        failure: if it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            made = Path(scratch) / target.name
            made.write_text(contents, encoding="utf-8")
            made.replace(target)
    except OSError as error:
        raise failure(f"{target} cannot be written ({error.strerror}); choose another place") from error
