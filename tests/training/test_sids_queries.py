"""What ``radsearch sids`` adds about queries: their embeddings, pseudo-queries with a teacher, BM25."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from training.data.errors import DataError
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.sids.build import SidSettings, build_sids
from training.sids.embedders import EmbeddingFile, embed_texts, load_embedder
from training.sids.pseudo_queries import cut_pseudo_queries, pseudo_query
from training.sids.queries import distinct_queries

ITEMS = [
    f"{colour} {thing}" for thing in ("table lamp", "running shoe", "kettle") for colour in ("red", "blue")
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A prepared directory with sessions and judgments, some of the same queries."""
    items = [{"item_id": title, "title": title} for title in ITEMS]
    sessions = [
        {"query": query, "positives": [ITEMS[0]]} for query in ("lamp", "red  lamp", "lamp", "Red lamp")
    ]
    for name, rows in (("items", items), ("sessions", sessions)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judgments = f"query,item_id,grade\nred lamp,{ITEMS[0]},3\nshoes,{ITEMS[2]},3\n"
    (tmp_path / "judgments.csv").write_text(judgments)
    prepare(
        tmp_path / "items.jsonl",
        tmp_path / "sessions.jsonl",
        tmp_path / "judgments.csv",
        tmp_path / "data",
        PrepareSettings(),
    )
    return tmp_path / "data"


def make(data: Path, **settings: object) -> Dataset:
    build_sids(data, SidSettings(codebooks=(2, 2), dim=4, **settings), Progress(disable=True))  # type: ignore[arg-type]
    return Dataset.load(data)


def test_queries_of_sessions_and_judgments_are_known_once_each(data: Path) -> None:
    assert distinct_queries(data) == ["Red lamp", "lamp", "red lamp", "shoes"]
    (data / "judgments.parquet").unlink()
    assert distinct_queries(data) == ["Red lamp", "lamp", "red lamp"]


def test_queries_are_embedded_as_items_are(data: Path) -> None:
    dataset, embedder = make(data), load_embedder(data / "embedder")
    assert embedder is not None
    queries = ["shoes", "lamp", "shoes"]
    np.testing.assert_allclose(dataset.embed(queries), embedder.embed(queries), atol=1e-6)
    pseudo = dataset.pseudo_queries()
    np.testing.assert_allclose(pseudo.embeddings, embedder.embed(pseudo.texts), atol=1e-6)


def test_an_unknown_query_is_named(data: Path) -> None:
    with pytest.raises(DataError, match=r"lacks the query 'hose'; run 'radsearch sids' again"):
        make(data).embed(["lamp", "hose"])


def test_a_file_of_item_embeddings_knows_no_queries(data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.random.default_rng(0).standard_normal((len(ITEMS), 3)))
    dataset = make(data, embedder=f"npy:{tmp_path / 'e.npy'}")
    assert dataset.query_embeddings.shape == (4, 3)
    assert not dataset.query_embeddings.any()
    assert not dataset.pseudo_queries().embeddings.any()
    told: list[int] = []
    found = embed_texts(EmbeddingFile(Path("e.npy"), 5), ["a", "b"], 5, told.append)
    np.testing.assert_array_equal(found, np.zeros((2, 5), np.float32))
    assert told == [2]


def test_every_title_gives_as_many_pseudo_queries_as_asked(data: Path) -> None:
    pseudo = make(data, pseudo_queries=3).pseudo_queries()
    assert len(pseudo.texts) == 3 * len(ITEMS)
    assert pseudo.items.shape == (3 * len(ITEMS), len(ITEMS)), "the catalogue is smaller than the depth"
    for text, title in zip(pseudo.texts, 3 * ITEMS, strict=True):
        assert set(text.split()) <= set(title.split())
    again = make(data, pseudo_queries=3).pseudo_queries()
    assert again.texts == pseudo.texts
    assert make(data, pseudo_queries=3, seed=1).pseudo_queries().texts != pseudo.texts


def test_none_may_be_asked_for(data: Path) -> None:
    pseudo = make(data, pseudo_queries=0).pseudo_queries()
    assert pseudo.texts == []
    assert len(pseudo.items) == len(pseudo.embeddings) == 0


def test_pseudo_queries_keep_the_order_of_the_words() -> None:
    words = ["a", "b", "c", "d", "e", "f", "g"]
    rng = np.random.default_rng(0)
    cuts = [pseudo_query(words, rng).split() for _ in range(200)]
    assert all(cut == sorted(set(cut)) for cut in cuts)
    assert {len(cut) for cut in cuts} == {1, 2, 3, 4}
    assert {word for cut in cuts for word in cut} == set(words)
    assert pseudo_query(["one"], rng) == "one"
    assert pseudo_query([], rng) == ""


def test_all_titles_are_cut_once_before_any_is_cut_again() -> None:
    cuts = cut_pseudo_queries(["a a a", "b b"], 2, np.random.default_rng(0))
    assert [cut[0] for cut in cuts] == ["a", "b", "a", "b"]
