"""Writing a bundle: prove every graph, lay all files beside the target, rename them when they are whole."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model_export.embedder import write_embedder
from model_export.errors import ExportError
from model_export.proof import weights_of
from model_export.proven_graphs import GraphMaker, Precision, ProvenGraph
from model_export.source import Source
from sid.manifest import FORMAT_VERSION, MANIFEST, Manifest, sha256
from training.data.atomic import written_whole
from training.model import Decoder

# As they are in the data directory.
COPIED = (
    "tokenizer.json",
    "sids.npz",
    "quantizer.npz",
    "items.parquet",
    "lexical.npz",
    "item_embeddings.npy",
)
PROOF_TITLES = 16
BLOCK = 65_536  # items whose vectors are computed at once


def export_bundle(
    source: Source,
    beam_widths: Sequence[int],
    name: str,
    target: Path,
    on_graph: Callable[[ProvenGraph], None],
    precisions: Sequence[Precision] = (Precision.FP32,),
) -> Manifest:
    """Prove and write a bundle; one that lies at the target is replaced when the new one is whole.

    Args:
        source: what is exported.
        beam_widths: one graph is written for each.
        name: the model's name, shown in every answer.
        target: directory of the bundle.
        on_graph: called with each graph when it is proven.
        precisions: of further graphs beside those in float32.

    Raises:
        RadsearchError: if a proof fails, or the target cannot be written or holds what is no bundle.
    """
    try:
        with written_whole(target, MANIFEST) as bundle:
            graphs = []
            for graph in GraphMaker(source, bundle).make(beam_widths, precisions):
                graphs.append(graph)
                on_graph(graph)
            embedder_proof = _write_files(source, bundle)
            manifest = _manifest(source, graphs, embedder_proof, name, _hashes(bundle))
            manifest.write(bundle)
    except OSError as error:
        raise ExportError(
            f"{target} cannot be written ({error}); mend that or choose another --out"
        ) from error
    return manifest


def revision() -> str:
    """The git revision of the checkout that this code runs from, "unknown" outside of one."""
    room = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", str(room), "rev-parse", "--show-prefix", "HEAD"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    prefix, head = done.stdout.splitlines()
    # Elsewhere lies an installed copy inside another project's checkout.
    return head if prefix == f"{room.name}/" else "unknown"


def item_vectors(decoder: Decoder, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit item vectors of item embeddings: float32 [n, embedding_dim] → [n, vector_dim]."""
    vectors = np.empty((len(embeddings), decoder.config.vector_dim), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(embeddings), BLOCK):
            block = torch.from_numpy(embeddings[start : start + BLOCK])
            vectors[start : start + BLOCK] = decoder.item_vectors(block).numpy()
    return vectors


def _write_files(source: Source, bundle: Path) -> dict[str, float]:
    """Write everything but graphs and manifest; returns the figures of the embedder's proof."""
    data, dataset = source.dataset.path, source.dataset
    for file in COPIED:
        if not (data / file).is_file():
            raise ExportError(f"{data / file} not found; run 'radsearch sids' again")
        shutil.copyfile(data / file, bundle / file)
    np.save(bundle / "item_vectors.npy", item_vectors(source.decoder, dataset.item_embeddings))
    np.save(bundle / "item_prior.npy", dataset.item_prior())
    np.save(bundle / "item_head.npy", weights_of(source.decoder)["item_head.weight"])
    return write_embedder(data / "embedder", bundle / "embedder", dataset.titles[:PROOF_TITLES])


def _manifest(
    source: Source,
    graphs: list[ProvenGraph],
    embedder_proof: dict[str, float],
    name: str,
    files: dict[str, str],
) -> Manifest:
    config = source.decoder.config
    return Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision(),
        config={
            "decoder": config.to_dict(),
            "beam_widths": sorted({graph.graph.beam_width for graph in graphs}),
            "max_prompt": config.max_prompt,
        },
        ordering=source.ordering.to_dict(),
        metrics={
            "evaluation": source.metrics,
            "proof": {graph.graph.file: graph.proof.to_dict() for graph in graphs},
            "embedder_proof": embedder_proof,
        },
        graphs=tuple(graph.graph for graph in graphs),
        files=files,
    )


def _hashes(bundle: Path) -> dict[str, str]:
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): sha256(path) for path in files}
