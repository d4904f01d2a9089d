"""A bundle is whole, its hashes hold, and after a failure nothing is left behind."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

import model_export.proven_graphs
from model_export.bundle import ProvenGraph, export_bundle, revision
from model_export.errors import ExportError
from model_export.graph import build_graph
from model_export.session import GraphSession, Prompts
from model_export.source import Source
from sid import RadsearchError, ResidualQuantizer, SidTable, Trie
from sid.manifest import Graph, Manifest
from sid.tfidf import TfidfEmbedder
from training.model import DecoderConfig


@pytest.fixture(scope="module")
def source(made_data: Path, made_checkpoint: Path) -> Source:
    return Source.load(made_checkpoint, made_data)


@pytest.fixture(scope="module")
def bundle(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "shop"
    export_bundle(source, [4, 9], "shop", path, on_graph=lambda graph: None)
    return path


def test_the_manifest_describes_every_file(bundle: Path, source: Source) -> None:
    manifest = Manifest.read(bundle)  # checks the hashes
    present = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert present == {*manifest.files, "manifest.json"}
    assert set(manifest.files) >= {
        "model_k4_fp32.onnx",
        "model_k9_fp32.onnx",
        "weights_fp32.bin",
        "tokenizer.json",
        "sids.npz",
        "quantizer.npz",
        "items.parquet",
        "lexical.npz",
        "item_vectors.npy",
        "item_embeddings.npy",
        "item_prior.npy",
        "item_head.npy",
        "embedder/embedder.json",
    }
    assert manifest.graphs == (
        Graph("model_k4_fp32.onnx", "explain_model_k4_fp32.onnx", 4, "fp32", 23, "CPUExecutionProvider"),
        Graph("model_k9_fp32.onnx", "explain_model_k9_fp32.onnx", 9, "fp32", 23, "CPUExecutionProvider"),
    )
    assert manifest.name == "shop"
    assert manifest.created.endswith("+00:00")
    assert manifest.ordering == {"tau": 0.5, "prior": 0.25, "words": 0.125, "trigrams": 0.0, "embedding": 0.0}
    assert DecoderConfig.from_dict(manifest.config["decoder"]) == source.decoder.config
    assert (manifest.config["beam_widths"], manifest.config["max_prompt"]) == ([4, 9], 32)
    for figures in manifest.metrics["proof"].values():
        assert figures["log_probs_against_torch"] < 1e-4


def test_a_query_is_answered_from_the_bundle_alone(bundle: Path, source: Source) -> None:
    table = SidTable.load(bundle / "sids.npz")
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    embeddings = TfidfEmbedder.load(bundle / "embedder").embed(["shoe red"])
    session = GraphSession(bundle / "model_k9_fp32.onnx", 9)
    answers = session.search(Prompts.encode(tokenizer, ["shoe red"], embeddings), Trie.from_table(table))
    np.testing.assert_array_equal(answers.sids[0], table.codes[answers.leaves[0]])


def test_items_come_with_their_vectors_and_prior(bundle: Path, source: Source) -> None:
    vectors, head = np.load(bundle / "item_vectors.npy"), np.load(bundle / "item_head.npy")
    projected = source.dataset.item_embeddings @ head.T
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    assert (vectors.dtype, head.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_array_equal(np.load(bundle / "item_prior.npy"), source.dataset.item_prior())
    assert pq.read_table(bundle / "items.parquet").column_names[-1] == "popularity"


def test_a_new_item_gets_its_sid_and_vector_without_torch(bundle: Path, source: Source) -> None:
    """What the bundle holds repeats, for a known item, what the data directory holds."""
    table = SidTable.load(bundle / "sids.npz")
    embedding = TfidfEmbedder.load(bundle / "embedder").embed([source.dataset.titles[7]])
    codes = ResidualQuantizer.load(bundle / "quantizer.npz").encode(embedding)
    assert table.find(codes)[0] == table.leaf_of_item()[7]
    projected = embedding @ np.load(bundle / "item_head.npy").T
    vector = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(vector[0], np.load(bundle / "item_vectors.npy")[7], atol=1e-5)


def test_evaluation_figures_travel_along(made_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "metrics.json").write_text(json.dumps({"NDCG@10": 0.5}))
    source = Source.load(checkpoint, made_data)
    export_bundle(source, [2], "shop", tmp_path / "bundle", on_graph=lambda graph: None)
    assert Manifest.read(tmp_path / "bundle").metrics["evaluation"] == {"NDCG@10": 0.5}


def test_a_beam_width_named_twice_is_written_once(source: Source, tmp_path: Path) -> None:
    graphs: list[ProvenGraph] = []
    manifest = export_bundle(source, [5, 2, 5], "shop", tmp_path / "bundle", on_graph=graphs.append)
    assert [graph.beam_width for graph in manifest.graphs] == [2, 5]
    assert [graph.graph.beam_width for graph in graphs] == [2, 5]


def test_an_older_bundle_is_replaced(source: Source, bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    export_bundle(source, [2], "old", target, on_graph=lambda graph: None)
    (target / "stray").touch()
    export_bundle(source, [3], "new", target, on_graph=lambda graph: None)
    assert Manifest.read(target).name == "new"
    assert not (target / "stray").exists()
    assert not (target / "model_k2_fp32.onnx").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_not_replaced(source: Source, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(RadsearchError, match="choose another --out"):
        export_bundle(source, [2], "shop", tmp_path / "photos", on_graph=lambda graph: None)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def tampered(config: DecoderConfig, weights: dict[str, Any], *rest: Any, **options: Any) -> ir.Model:
    weights = weights | {"norm.weight": weights["norm.weight"] * 1.01}
    return build_graph(config, weights, *rest, **options)


def test_a_failed_proof_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, source: Source, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    monkeypatch.setattr(model_export.proven_graphs, "build_graph", tampered)
    with pytest.raises(ExportError, match="failed its proof"):
        export_bundle(source, [4], "shop", target, on_graph=lambda graph: None)
    assert not list(tmp_path.iterdir())


def test_a_failed_proof_leaves_the_older_bundle(
    monkeypatch: pytest.MonkeyPatch, source: Source, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    export_bundle(source, [4], "old", target, on_graph=lambda graph: None)
    monkeypatch.setattr(model_export.proven_graphs, "build_graph", tampered)
    with pytest.raises(ExportError, match="failed its proof"):
        export_bundle(source, [4], "new", target, on_graph=lambda graph: None)
    assert Manifest.read(target).name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("file", ["quantizer.npz", "embedder/embedder.json"])
def test_a_missing_file_writes_nothing(made_checkpoint: Path, data: Path, tmp_path: Path, file: str) -> None:
    (data / file).unlink()
    source = Source.load(made_checkpoint, data)
    with pytest.raises(ExportError, match=f"{file} not found"):
        export_bundle(source, [2], "shop", tmp_path / "out" / "bundle", on_graph=lambda graph: None)
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_is_said_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, source: Source, tmp_path: Path
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export_bundle(source, [2], "shop", tmp_path / "bundle", on_graph=lambda graph: None)
    assert not list(tmp_path.iterdir())


def test_the_revision_is_that_of_this_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    room = tmp_path / "model_export"
    room.mkdir()
    monkeypatch.setattr(model_export.bundle, "__file__", str(room / "bundle.py"))
    assert revision() == "unknown"
    git("init", "-q")
    assert revision() == "unknown"
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
    assert revision() == git("rev-parse", "HEAD")
    installed = tmp_path / ".venv" / "model_export"
    installed.mkdir(parents=True)
    monkeypatch.setattr(model_export.bundle, "__file__", str(installed / "bundle.py"))
    assert revision() == "unknown"
