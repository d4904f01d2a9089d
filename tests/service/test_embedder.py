"""The service embeds a query as the data directory did. A sentence encoder: tests/model_export."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.device import CPU, Device
from service.embedder import load_embedder
from service.tokenizer import clean_query
from sid import RadsearchError
from sid.manifest import BundleError
from training.dataset import Dataset
from training.sids.embedders import EmbeddingFile, embed_texts
from training.sids.embedders import load_embedder as load_embedder_of_data

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_queries_have_the_embeddings_that_the_decoder_was_trained_with(bundles: Path) -> None:
    data = Dataset.load(bundles.parent / "data")
    embedder = load_embedder(bundles / "sft" / "embedder", Device(CPU), 1)
    queries = list(data.query_rows)
    assert len(queries) == 16
    assert np.abs(data.query_embeddings).max() > 0
    np.testing.assert_allclose(embedder.embed(queries), data.embed(queries), atol=1e-6)


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_other_queries_are_embedded_as_training_would(bundles: Path, texts: list[str]) -> None:
    """Each as if it were alone; the control characters that the service takes out do not matter."""
    expected = load_embedder_of_data(bundles.parent / "data" / "embedder")
    assert expected is not None
    embedder = load_embedder(bundles / "sft" / "embedder", Device(CPU), 1)
    found = embedder.embed([clean_query(text) for text in texts])
    for row, text in zip(found, texts, strict=True):
        np.testing.assert_allclose(row, expected.embed([text])[0], atol=1e-6)


def test_embeddings_made_elsewhere_know_no_queries(tmp_path: Path) -> None:
    source = EmbeddingFile(Path("e.npy"), 7)
    source.save(tmp_path)
    found = load_embedder(tmp_path, Device(CPU), 1).embed(["red shoes", "雨伞"])
    np.testing.assert_array_equal(found, embed_texts(source, ["red shoes", "雨伞"], 7, lambda _: None))
    assert (found.shape, found.dtype) == ((2, 7), np.float32)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        (None, "describes no embedder"),
        ([], "describes no embedder"),
        ({}, "describes no embedder"),
        ({"kind": "npy", "dim": "many"}, "describes no embedder"),
        ({"kind": "word2vec"}, "of the unknown kind 'word2vec'"),
        ({"kind": "tfidf"}, r"tfidf\.npz not found"),
        ({"kind": "sentence"}, "describes no embedder"),
        ({"kind": "sentence", "encoder": "gone.onnx", "tokenizer": "gone.json"}, "cannot be loaded"),
    ],
)
def test_what_is_no_embedder_is_refused(tmp_path: Path, description: object, complaint: str) -> None:
    if description is not None:
        (tmp_path / "embedder.json").write_text(json.dumps(description))
    with pytest.raises(RadsearchError, match=complaint) as caught:
        load_embedder(tmp_path, Device(CPU), 1)
    assert "\n" not in str(caught.value)


def test_a_description_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "embedder.json").write_bytes(b"\xff{")
    with pytest.raises(BundleError, match="describes no embedder"):
        load_embedder(tmp_path, Device(CPU), 1)
