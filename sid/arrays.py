"""Reading ``.npz`` files whose content is not to be trusted."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sid.errors import SidError


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an ``.npz``; never unpickles.

    Raises:
        SidError: if the file is missing, truncated, or no ``.npz`` of plain arrays.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError as error:
        raise SidError(f"{path} not found; write it with 'radsearch sids'") from error
    except Exception as error:  # zipfile and NumPy raise a dozen types for bytes that are no .npz
        raise SidError(f"{path} is damaged ({error}); write it again with 'radsearch sids'") from error
