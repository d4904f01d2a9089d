"""A bundle is served only when it is whole, unaltered and of a format that is known."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid.manifest import FORMAT_VERSION, MANIFEST, BundleError, Graph, Manifest, sha256

RUNTIME = {"explanation": "explain.onnx", "opset": 23, "provider": "CPUExecutionProvider"}
FILES = {
    "model_k8_fp32.onnx": b"graph",
    "explain.onnx": b"levels",
    "sids.npz": b"sids",
    "embedder/embedder.json": b"{}",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def write_bundle(path: Path) -> Path:
    (path / "embedder").mkdir(parents=True)
    for name, content in FILES.items():
        (path / name).write_bytes(content)
    Manifest(
        format_version=FORMAT_VERSION,
        name="rad-dpo",
        created="2026-01-01T00:00:00+00:00",
        revision="unknown",
        config={"beam_widths": [8], "name": "Größe 42"},
        ordering={"tau": 0.5, "prior": 0.1, "words": 0.2},
        metrics={"NDCG@10": 0.8},
        graphs=(Graph("model_k8_fp32.onnx", "explain.onnx", 8, "fp32", 23, "CPUExecutionProvider"),),
        files={name: sha256(path / name) for name in FILES},
    ).write(path)
    return path


def edit(bundle: Path, **changes: Any) -> None:
    raw = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    (bundle / MANIFEST).write_text(json.dumps({**raw, **changes}), encoding="utf-8")


def test_what_was_written_is_read(bundle: Path) -> None:
    manifest = Manifest.read(bundle)
    assert manifest.graphs == (
        Graph("model_k8_fp32.onnx", "explain.onnx", 8, "fp32", 23, "CPUExecutionProvider"),
    )
    assert manifest.config["name"] == "Größe 42"
    copy = bundle.parent / "copy"
    copy.mkdir()
    manifest.write(copy)
    assert (copy / MANIFEST).read_bytes() == (bundle / MANIFEST).read_bytes()


def test_there_must_be_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"manifest\.json not found; write a bundle with 'radsearch export'"
    ):
        Manifest.read(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing from the bundle"):
        Manifest.read(bundle)


@pytest.mark.parametrize("name", FILES)
def test_an_altered_or_cut_file_is_refused(bundle: Path, name: str) -> None:
    for content in (FILES[name] + b"!", FILES[name][:-1], b""):
        (bundle / name).write_bytes(content)
        with pytest.raises(BundleError, match=f"{name} differs from the hash"):
            Manifest.read(bundle)


def test_a_newer_format_asks_for_an_upgrade(bundle: Path) -> None:
    edit(bundle, format_version=FORMAT_VERSION + 1, graphs="of a kind to come")
    with pytest.raises(BundleError, match=rf"bundle format {FORMAT_VERSION + 1}, .* upgrade radsearch"):
        Manifest.read(bundle)


def test_an_older_format_asks_for_an_export(bundle: Path) -> None:
    edit(bundle, format_version=FORMAT_VERSION - 1)
    with pytest.raises(
        BundleError,
        match=rf"format {FORMAT_VERSION - 1}, this release reads {FORMAT_VERSION}; "
        "export the bundle again with this release$",
    ):
        Manifest.read(bundle)


@pytest.mark.parametrize("version", [None, "1", 1.0, True, 0, -1])
def test_a_version_is_a_positive_integer(bundle: Path, version: object) -> None:
    edit(bundle, format_version=version)
    with pytest.raises(BundleError, match="has no format version"):
        Manifest.read(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"\x00"])
def test_a_malformed_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"is not a manifest|holds no JSON object"):
        Manifest.read(bundle)


@given(position=st.integers(0, 10_000))
def test_a_cut_manifest_is_refused(tmp_path_factory: pytest.TempPathFactory, position: int) -> None:
    bundle = write_bundle(tmp_path_factory.mktemp("cut") / "bundle")
    whole = (bundle / MANIFEST).read_bytes()
    (bundle / MANIFEST).write_bytes(whole[: position % (len(whole) - 1)])
    with pytest.raises(BundleError):
        Manifest.read(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ["sids.npz"]},
        {"files": {"sids.npz": 5, "model_k8_fp32.onnx": None}},
        {"graphs": []},
        {"graphs": {}},
        {"graphs": [5]},
        {"graphs": [{"file": "model_k8_fp32.onnx", "beam_width": 8}]},
        {"graphs": [{"file": "model_k8_fp32.onnx", "beam_width": "8", "precision": "fp32", **RUNTIME}]},
        {"graphs": [{"file": "model_k8_fp32.onnx", "beam_width": 0, "precision": "fp32", **RUNTIME}]},
        {"graphs": [{"file": "unhashed.onnx", "beam_width": 8, "precision": "fp32", **RUNTIME}]},
        {"graphs": [{"file": ["a"], "beam_width": 8, "precision": "fp32", **RUNTIME}]},
        {"name": None},
        {"config": []},
        {"ordering": 3},
        {"metrics": None},
    ],
)
def test_fields_of_another_kind_are_refused(bundle: Path, changes: dict[str, Any]) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=r"export the bundle again|export it again"):
        Manifest.read(bundle)


@pytest.mark.parametrize("field", ["name", "created", "config", "ordering", "graphs", "files", "metrics"])
def test_a_missing_field_is_named(bundle: Path, field: str) -> None:
    raw = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    del raw[field]
    (bundle / MANIFEST).write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(BundleError, match=f"is incomplete \\('{field}'\\)"):
        Manifest.read(bundle)


@pytest.mark.parametrize(
    "name", ["../secret", "embedder/../../secret", "/etc/hostname", "..\\secret", "", "."]
)
def test_a_file_outside_of_the_bundle_is_never_read(bundle: Path, name: str) -> None:
    secret = bundle.parent / "secret"
    secret.write_bytes(b"x")
    raw = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(bundle, files={**raw["files"], name: sha256(secret)})
    with pytest.raises(BundleError, match=r"outside of the bundle|is missing"):
        Manifest.read(bundle)


def test_a_graph_outside_of_the_bundle_is_refused(bundle: Path) -> None:
    edit(bundle, graphs=[{"file": "../model.onnx", "beam_width": 8, "precision": "fp32", **RUNTIME}])
    with pytest.raises(BundleError, match="has no hash"):
        Manifest.read(bundle)
