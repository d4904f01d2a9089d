"""A checkpoint and the data it is exported with must belong together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.errors import ExportError
from model_export.source import Source
from sid import RadsearchError, SidTable, TfidfEmbedder
from training.checkpoint import CheckpointError
from training.dataset import Dataset


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_queries_are_real_and_held_out(made_checkpoint: Path, made_data: Path) -> None:
    source = Source.load(made_checkpoint, made_data)
    held_out = {session.query for session in source.dataset.sessions("test")}
    assert set(source.queries(1000).texts) == held_out
    few = source.queries(3)
    assert len(few.texts) == 3
    assert set(few.texts) <= held_out
    embedder = TfidfEmbedder.load(made_data / "embedder")
    np.testing.assert_allclose(few.embeddings, embedder.embed(few.texts), atol=1e-6)


def test_without_sessions_titles_stand_for_queries(
    monkeypatch: pytest.MonkeyPatch, made_checkpoint: Path, made_data: Path
) -> None:
    source = Source.load(made_checkpoint, made_data)
    monkeypatch.setattr(Dataset, "sessions", lambda self, split: [])
    for n_queries in (1, 7, 1000):
        queries = source.queries(n_queries)
        rows = [source.dataset.titles.index(title) for title in queries.texts]
        assert len(set(rows)) == min(n_queries, source.dataset.n_items)
        np.testing.assert_array_equal(queries.embeddings, source.dataset.item_embeddings[rows])


def test_a_missing_checkpoint_says_how_to_make_one(made_data: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere.* not found; .*radsearch train"):
        Source.load(tmp_path / "nowhere", made_data)


def test_data_without_sids_says_how_to_make_them(made_checkpoint: Path, data: Path) -> None:
    (data / "sids.npz").unlink()
    with pytest.raises(RadsearchError, match=r"sids.npz not found; .*radsearch sids"):
        Source.load(made_checkpoint, data)


def test_other_codebooks_are_refused(made_checkpoint: Path, data: Path) -> None:
    table = SidTable.load(data / "sids.npz")
    item_codes = table.codes[table.leaf_of_item()]
    SidTable.from_item_codes(item_codes, (4, 3, 8)).save(data / "sids.npz")
    with pytest.raises(ExportError, match=r"has codebooks 4,3,3, the SIDs in .* have 4,3,8"):
        Source.load(made_checkpoint, data)


def test_other_embeddings_are_refused(made_checkpoint: Path, data: Path) -> None:
    embeddings = np.load(data / "item_embeddings.npy")
    np.save(data / "item_embeddings.npy", embeddings[:, :5])
    with pytest.raises(ExportError, match=r"reads embeddings of size 12, those in .* have size 5"):
        Source.load(made_checkpoint, data)


def test_another_tokenizer_is_refused(checkpoint: Path, made_data: Path) -> None:
    edit(checkpoint / "tokenizer.json", lambda tokenizer: tokenizer["truncation"].update(max_length=5))
    with pytest.raises(ExportError, match="has another tokenizer than"):
        Source.load(checkpoint, made_data)


def test_a_truncated_tokenizer_is_said(checkpoint: Path, made_data: Path) -> None:
    text = (checkpoint / "tokenizer.json").read_text()
    (checkpoint / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not JSON"):
        Source.load(checkpoint, made_data)


def test_an_empty_catalogue_is_refused(
    monkeypatch: pytest.MonkeyPatch, made_checkpoint: Path, made_data: Path
) -> None:
    empty = SidTable.from_item_codes(np.empty((0, 3), dtype=np.int32), (4, 3, 3))
    loaded = Source.load(made_checkpoint, made_data).dataset
    object.__setattr__(loaded, "sids", empty)
    monkeypatch.setattr("model_export.source.Dataset.load", lambda path: loaded)
    with pytest.raises(ExportError, match="has no SIDs"):
        Source.load(made_checkpoint, made_data)
