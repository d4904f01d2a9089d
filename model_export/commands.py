"""``radsearch export``."""

import re
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from model_export.bundle import export_bundle
from model_export.embedder import ENCODER
from model_export.errors import ExportError
from model_export.proof import Proof
from model_export.proven_graphs import Precision, ProvenGraph
from model_export.rounded import RoundedProof
from model_export.source import Source
from sid.manifest import Manifest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def export(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint directory written by 'radsearch train'.")],
    data: Annotated[Path, typer.Option(help="Data directory it was trained on, with SIDs.")],
    name: Annotated[str, typer.Option(help="The model's name, shown in every answer.")],
    out: Annotated[Path, typer.Option(help="Bundle to write; an older one is replaced.")],
    beam_width: Annotated[
        list[int] | None,
        typer.Option(min=1, help="SIDs found per query, 128 if not said; repeat it for more graphs."),
    ] = None,
    precision: Annotated[
        list[Precision] | None,
        typer.Option(
            help="Also write int8 (CPU) or fp16 (GPU) graphs, if no metric on valid queries loses 0.5%."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print sizes and the proof's figures as JSON.")
    ] = False,
) -> None:
    """Write the decoder and its beam search as one ONNX graph, prove it, and pack it into a bundle.

    Nothing is written unless the graph agrees with torch on real queries, with a brute force over a small
    catalogue, and with a float64 beam search over the whole one.

    Example: radsearch export --checkpoint rad-dpo --data data --name rad-dpo --out bundles/rad-dpo
    """
    if not NAME.fullmatch(name):
        raise ExportError(f"--name {name!r} is no name for a model; use letters, digits, '.', '_' and '-'")
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)
    started = time.perf_counter()
    source = Source.load(checkpoint, data)
    _print_source(source, console)
    manifest = export_bundle(
        source,
        beam_width or [128],
        name,
        out,
        on_graph=lambda graph: _print_graph(graph, console),
        precisions=precision or [Precision.FP32],
    )
    report = _report(manifest, out, time.perf_counter() - started)
    for value in report["embedder_proof"].values():
        console.print(f"[bold]embedder/{ENCODER}[/bold]\n  {value:.1e}  vectors from sentence-transformers'")
    if as_json:
        typer.echo(orjson.dumps(report))
    else:
        console.print(f"{report['megabytes']:.1f} MB in {report['seconds']:.1f} s")
        console.print(f"→ {out}", markup=False)


def _report(manifest: Manifest, bundle: Path, seconds: float) -> dict[str, Any]:
    files = [path for path in sorted(bundle.rglob("*")) if path.is_file()]
    sizes = {path.relative_to(bundle).as_posix(): path.stat().st_size for path in files}
    return {
        "bundle": str(bundle),
        "name": manifest.name,
        "revision": manifest.revision,
        "proof": manifest.metrics["proof"],
        "embedder_proof": manifest.metrics["embedder_proof"],
        "file_bytes": sizes,
        "megabytes": sum(sizes.values()) / 1e6,
        "seconds": round(seconds, 3),
    }


def _print_source(source: Source, console: Console) -> None:
    config = source.decoder.config
    n_parameters = sum(parameter.numel() for parameter in source.decoder.parameters())
    console.print(
        f"[bold]{escape(str(source.checkpoint))}[/bold]  {n_parameters / 1e6:.1f} M parameters, "
        f"{config.n_layers} layers of {config.d_model}, "
        f"codebooks {'×'.join(str(size) for size in config.codebook_sizes)}"
    )


def _print_graph(graph: ProvenGraph, console: Console) -> None:
    console.print(
        f"[bold]{graph.graph.file}[/bold]  {graph.n_nodes} nodes, built in {graph.build_s:.1f} s, proven in "
        f"{graph.proof_s:.1f} s"
    )
    proof = graph.proof
    findings = _of_rounded(proof) if isinstance(proof, RoundedProof) else _of_fp32(proof)
    for value, finding in findings:
        console.print(f"  {value}  {finding}")


def _of_fp32(proof: Proof) -> list[tuple[str, str]]:
    figures = [
        (proof.log_probs_against_torch, f"log p from torch's, {proof.n_queries} queries"),
        (proof.query_vectors_against_torch, "query vectors from torch's"),
        (
            proof.ranking_against_brute_force,
            f"full ranking of {proof.n_brute_force_sids} SIDs from brute force",
        ),
        (proof.filter_against_brute_force, "the same SIDs as a filter"),
        (proof.beams_against_reference, "beams from a float64 search of all SIDs"),
    ]
    return [(f"{value:.1e}", finding) for value, finding in figures]


def _of_rounded(proof: RoundedProof) -> list[tuple[str, str]]:
    return [
        (f"{proof.overlap:7.1%}", f"of the SIDs found are those of float32, {proof.n_queries} valid queries"),
        (f"{proof.log_probs_from_fp32:7.1e}", "log p from float32's, on average"),
        *((f"{-value:+7.2%}", metric) for metric, value in proof.lost.items()),
    ]
