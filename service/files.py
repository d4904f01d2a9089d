"""Files that others read while they are written."""

import os
from pathlib import Path


def replace_text(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file at once, so that who looks meanwhile sees the one before or this one; blocks.

    Args:
        path: of the file.
        text: all of it.
        mode: who may read it, less what the umask takes away.

    Raises:
        OSError: if it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(mode=mode)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
