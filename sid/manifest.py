"""The bundle's manifest: what is inside, from what it was made, and the hash of every file."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sid.errors import RadsearchError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class BundleError(RadsearchError):
    """A bundle that cannot be served: missing, truncated, altered, or written by a newer version."""


@dataclass(frozen=True)
class Graph:
    """One exported beam search; K and the precision are fixed at export."""

    file: str
    beam_width: int
    precision: str


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    Attributes:
        format_version: of the bundle's layout; a reader refuses a newer one.
        name: the model's name, shown in every answer.
        created: ISO 8601, UTC.
        revision: git revision of the code that exported it, "unknown" outside a checkout.
        config: the decoder's shape and the decoding settings (JSON object).
        ordering: tau and prior, see ``sid.OrderingWeights``.
        metrics: figures from ``radsearch evaluate`` and from the export's proof, by name.
        graphs: the exported beam searches, at least one.
        files: sha256 (hex) of every other file, by path inside the bundle.
    """

    format_version: int
    name: str
    created: str
    revision: str
    config: dict[str, Any]
    ordering: dict[str, float]
    metrics: dict[str, Any]
    graphs: tuple[Graph, ...]
    files: dict[str, str]

    def write(self, bundle: Path) -> None:
        """Write ``manifest.json`` into the bundle."""
        (bundle / MANIFEST).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, bundle: Path) -> "Manifest":
        """Read and check a bundle's manifest and the hash of every file it names.

        Raises:
            BundleError: if the bundle is missing, truncated, altered or of a newer format.
        """
        path = bundle / MANIFEST
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            version = raw["format_version"]
        except FileNotFoundError as error:
            raise BundleError(f"{path} not found; write a bundle with 'radsearch export'") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{path} is not a manifest ({error}); export the bundle again") from error
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise BundleError(
                f"{bundle} has bundle format {version}, this release reads up to {FORMAT_VERSION}; "
                "upgrade radsearch or export the bundle with this release"
            )
        try:
            graphs = tuple(Graph(**graph) for graph in raw.pop("graphs"))
            manifest = cls(graphs=graphs, **raw)
        except (KeyError, TypeError) as error:
            raise BundleError(f"{path} is incomplete ({error}); export the bundle again") from error
        for name, digest in manifest.files.items():
            manifest._check(bundle / name, digest)
        return manifest

    @staticmethod
    def _check(path: Path, digest: str) -> None:
        if not path.is_file():
            raise BundleError(f"{path} is missing from the bundle; copy or export it again")
        if sha256(path) != digest:
            raise BundleError(f"{path} differs from the hash in {MANIFEST}; copy or export the bundle again")


def sha256(path: Path) -> str:
    """Hash a file's contents, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
