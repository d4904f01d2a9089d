"""The directory that admins load bundles from: names in requests become paths in it, and nowhere else."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from service.desired import BundleRef
from service.problems import ConflictError, InvalidRequestError
from sid.manifest import MANIFEST, BundleError


@dataclass(frozen=True)
class BundleDirectory:
    """Finds bundles; all methods read files.

    Attributes:
        root: the directory; None holds nothing.
    """

    root: Path | None

    def find(self, directory: str) -> BundleRef:
        """The bundle that a request names; a link is followed, and what it leads to now is meant.

        Args:
            directory: below the root.

        Raises:
            ConflictError: if there is no root.
            InvalidRequestError: if it lies elsewhere or holds no bundle.
        """
        if self.root is None:
            raise ConflictError("no bundle can be loaded; set bundles_root to the directory of all bundles")
        root = self.root.resolve()
        try:
            path = (root / directory).resolve()
            is_below = path.is_relative_to(root) and path != root
            digest = _digest(path) if is_below else ""
        except (OSError, ValueError, RuntimeError) as error:  # no name of a file, a circle of links
            raise InvalidRequestError("/bundle", "is no bundle below bundles_root") from error
        if not is_below:
            raise InvalidRequestError("/bundle", "leads out of bundles_root; name a directory below it")
        return BundleRef(path.relative_to(root).as_posix(), digest)

    def path(self, bundle: BundleRef) -> Path:
        """Where a bundle lies that was loaded, here or by another replica.

        Raises:
            BundleError: if it is not there, or another is there by now.
        """
        if self.root is None:
            raise BundleError(
                f"'{bundle.directory}' was loaded, and this replica has no bundles_root; set it"
            )
        path = self.root.resolve() / bundle.directory
        try:
            digest = _digest(path)
        except OSError as error:
            raise BundleError(f"{path} was loaded and cannot be read ({error}); put it back") from error
        if digest != bundle.digest:
            raise BundleError(
                f"{path} is not what was loaded by that name; give each bundle a directory of its own"
            )
        return path


def _digest(bundle: Path) -> str:
    return hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
