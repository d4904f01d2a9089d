"""The bundle's manifest: what is inside, from what it was made, and the hash of every file."""

import dataclasses
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sid.errors import SidError

# Since 2 the graphs read the query's embedding, and lexical.npz is part of a bundle; since 3 graphs share a
# file of weights, and the manifest names their opset, provider and explanation.
FORMAT_VERSION = 3
MANIFEST = "manifest.json"
RUNNERS_UP = 5  # pruned prefixes per level that the graphs that explain rank
FIELD_TYPES = {
    "name": str,
    "created": str,
    "revision": str,
    "config": dict,
    "ordering": dict,
    "metrics": dict,
    "graphs": list,
    "files": dict,
}


class BundleError(SidError):
    """A bundle that cannot be served: missing, truncated, altered, or of another format."""


@dataclass(frozen=True)
class Graph:
    """One exported beam search.

    Attributes:
        file: its name in the bundle.
        explanation: name of the same search that also says what decided each level.
        beam_width: K.
        precision: of its weights and activations.
        opset: version of the ONNX operators it is written in.
        provider: the execution provider of onnxruntime it is made for.
    """

    file: str
    explanation: str
    beam_width: int
    precision: str
    opset: int
    provider: str


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    Attributes:
        format_version: of the bundle's layout; a reader refuses any other than its own.
        name: the model's name, shown in every answer.
        created: ISO 8601, UTC.
        revision: git revision of the code that exported it, "unknown" outside a checkout.
        config: the decoder's shape and the decoding settings (JSON object).
        ordering: the weights of the parts of an item's score, see ``sid.OrderingWeights``.
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
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        (bundle / MANIFEST).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, bundle: Path) -> "Manifest":
        """Read and check a bundle's manifest and the hash of every file it names.

        Raises:
            BundleError: if the bundle is missing, truncated, altered or of another format.
        """
        path = bundle / MANIFEST
        raw = _read_json(path)
        version = raw.get("format_version")
        if type(version) is not int or version < 1:
            raise BundleError(f"{path} has no format version; export the bundle again")
        if version != FORMAT_VERSION:
            remedy = "upgrade radsearch or " if version > FORMAT_VERSION else ""
            raise BundleError(
                f"{bundle} has bundle format {version}, this release reads {FORMAT_VERSION}; "
                f"{remedy}export the bundle again with this release"
            )
        try:
            manifest = _parse(raw)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path} is incomplete ({error}); export the bundle again") from error
        for name, digest in manifest.files.items():
            _check(bundle, name, digest)
        return manifest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path} not found; write a bundle with 'radsearch export'") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} is not a manifest ({error}); export the bundle again") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path} holds no JSON object; export the bundle again")
    return raw


def _parse(raw: dict[str, Any]) -> Manifest:
    """Check names and types of all fields; KeyError, TypeError or ValueError says what is wrong."""
    fields = {field.name: raw[field.name] for field in dataclasses.fields(Manifest)}
    for name, kind in FIELD_TYPES.items():
        if not isinstance(fields[name], kind):
            raise TypeError(f"{name} is {fields[name]!r:.60}")
    graphs = tuple(Graph(**graph) for graph in fields.pop("graphs"))
    manifest = Manifest(graphs=graphs, **fields)
    if not graphs:
        raise ValueError("it names no graph")
    for graph in graphs:
        if type(graph.beam_width) is not int or graph.beam_width < 1:
            raise ValueError(f"{graph.file!r} has beam width {graph.beam_width!r}")
        for file in (graph.file, graph.explanation):
            if file not in manifest.files:
                raise ValueError(f"{file!r} has no hash")
    return manifest


def _check(bundle: Path, name: str, digest: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or "\\" in name or PurePosixPath(name).is_absolute():
        raise BundleError(
            f"{bundle / MANIFEST} names {name!r}, outside of the bundle; do not serve this bundle"
        )
    path = bundle / name
    if not path.is_file():
        raise BundleError(f"{path} is missing from the bundle; copy or export it again")
    if sha256(path) != digest:
        raise BundleError(f"{path} differs from the hash in {MANIFEST}; copy or export the bundle again")


def sha256(path: Path) -> str:
    """Hash a file's contents, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
