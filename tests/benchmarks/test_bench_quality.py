"""``radsearch bench quality`` on a small judged catalogue: what it reports is what the parts give by hand."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress

from benchmarks.baselines import bm25_scores, rank_by_fusion
from benchmarks.quality import PARTS, Asked, waterfall
from sid import OrderingWeights, Trie
from tests.benchmarks.runner import bench
from training.checkpoint import Provenance, load_decoder, save_checkpoint
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.metrics import item_values
from training.model import Decoder, DecoderConfig
from training.ordering import Candidates, gather_candidates, item_features
from training.search import TrieTree, constrained_search, search_queries
from training.sids.build import SidSettings, build_sids

COLOURS, THINGS = ("red", "blue", "green"), ("shoe", "lamp", "pan", "hose")
K = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data directory and a checkpoint of an untrained decoder."""
    raw = tmp_path_factory.mktemp("quality")
    titles = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    items = [{"item_id": str(row), "title": title} for row, title in enumerate(titles)]
    (raw / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    lines = [
        f"{query}s,{row},{3 if row == number else 1},{split}\n"
        for number, query in enumerate(titles)
        for row in range(max(0, number - 2), min(len(titles), number + 2))
        for split in (("valid", "test", "train")[number % 3],)
    ]
    (raw / "judgments.csv").write_text("query,item_id,grade,split\n" + "".join(lines))
    data = raw / "data"
    settings = PrepareSettings(positive_from=3, negative_to=1, vocab_size=300)
    prepare(raw / "items.jsonl", None, raw / "judgments.csv", data, settings)
    build_sids(data, SidSettings(codebooks=(4, 3), dim=6), Progress(disable=True))
    dataset = Dataset.load(data)
    torch.manual_seed(1)
    dim = dataset.item_embeddings.shape[1]
    vocabulary = dataset.tokenizer.get_vocab_size()
    decoder = Decoder(DecoderConfig(vocabulary, dataset.sids.codebook_sizes, dim, d_model=32, n_layers=1))
    figures = {"steps": 0, "examples": 0, "parameters": 1}
    provenance = Provenance("sft", {"seed": 4}, None, figures)
    save_checkpoint(raw / "sft", decoder, dataset.tokenizer, OrderingWeights(), provenance)
    return data, raw / "sft"


@pytest.fixture(scope="module")
def report(made: tuple[Path, Path]) -> dict:
    data, checkpoint = made
    arguments = ["quality", "--data", data, "--checkpoint", checkpoint, "--beam-width", K, "--json"]
    result = bench(*arguments)
    assert result.exit_code == 0, result.exception
    return dict(json.loads(result.stdout))


def test_systems_are_judged_alike(report: dict) -> None:
    assert list(report["systems"]) == ["bm25", "dense", "fusion", "every_item", "radsearch"]
    assert report["n_queries"] == {"valid": 4, "test": 4}
    assert report["seeds"] == [4]
    for metrics in report["systems"].values():
        assert list(metrics) == ["item_recall@10", "item_recall@100", "item_mrr", "ndcg@10"]
        assert all(0 <= of["low"] <= of["mean"] <= of["high"] <= 1 for of in metrics.values())
    for name, gaps in report["differences"]["radsearch"].items():
        for metric, gap in gaps.items():
            ours, theirs = (report["systems"][system][metric]["mean"] for system in ("radsearch", name))
            assert gap["mean"] == pytest.approx(ours - theirs)


def test_ours_is_what_search_and_ordering_give(report: dict, made: tuple[Path, Path]) -> None:
    dataset, decoder = Dataset.load(made[0]), load_decoder(made[1])
    grades = dataset.relevance("test")
    trie = TrieTree.from_trie(Trie.from_table(dataset.sids))
    search = partial(constrained_search, decoder, trie=trie, beam_width=K)
    beams = search_queries(dataset, list(grades), search, torch.device("cpu"))
    candidates = gather_candidates(item_features(decoder, dataset), dataset, list(grades), beams)
    for part in PARTS:
        weights = OrderingWeights(**report["ordering"][part]["weights"])
        ranked = {
            query: of_query.order(weights, 100).tolist()
            for query, of_query in zip(grades, candidates, strict=True)
        }
        expected = item_values(ranked, grades, dataset.positive_from)["Item MRR"].mean()
        assert report["ordering"][part]["item_mrr"]["mean"] == pytest.approx(expected)
    assert report["systems"]["radsearch"]["item_mrr"]["mean"] == pytest.approx(expected)


def test_every_item_is_ordered_by_its_text(report: dict, made: tuple[Path, Path]) -> None:
    dataset = Dataset.load(made[0])
    weights = report["every_item"]["weights"]
    assert (weights["tau"], weights["prior"]) == (0, 0)
    grades, rows, ranked = dataset.relevance("test"), np.arange(dataset.n_items), {}
    for query in grades:
        bm25 = dataset.lexical.scores(dataset.lexical.query(query), rows)
        scores = bm25 @ [weights["words"], weights["trigrams"]]
        scores += weights["embedding"] * dataset.item_embeddings @ dataset.embed([query])[0]
        ranked[query] = np.argsort(-scores, kind="stable").tolist()
    expected = item_values(ranked, grades, dataset.positive_from)["Item MRR"].mean()
    assert report["systems"]["every_item"]["item_mrr"]["mean"] == pytest.approx(expected)


def test_the_waterfall_holds_every_relevant_item(report: dict) -> None:
    assert sum(report["waterfall"].values()) == pytest.approx(1)
    found = sum(report["waterfall"][place] for place in ("in the top 10", "ordered below 10"))
    assert found == pytest.approx(report["systems"]["radsearch"]["item_recall@100"]["mean"])


def test_each_loss_has_its_place() -> None:
    asked = Asked(["q"], {"q": {}}, {"q": [0, 1, 2, 3, 4]})
    items = np.arange(200, 0, -1, dtype=np.int32)
    candidates = {"q": Candidates(np.append(items[:-4], 0).astype(np.int32), np.zeros((197, 6), np.float32))}
    ranked = {"q": [0, *range(200, 106, -1), 5, 6, 7, 8, 9]}
    leaves = np.zeros(201, dtype=np.int32)
    leaves[[1, 2]] = 7, 8
    found = waterfall(asked, candidates, {"q": {7}}, ranked, leaves)
    assert found == pytest.approx(
        {
            "in the top 10": 0.2,
            "ordered below 10": 0,
            "ordered below 100": 0,
            "generated below K": 0.2,
            "SID not generated": 0.6,
        }
    )


def test_fusion_adds_scores() -> None:
    rng = np.random.default_rng(0)
    texts, queries = ["red shoe", "blue lamp", "red lamp"], ["red", "lamp shoe"]
    item_embeddings, query_embeddings = rng.standard_normal((3, 4)), rng.standard_normal((2, 4))
    ranked = rank_by_fusion(
        texts,
        item_embeddings.astype(np.float32),
        query_embeddings.astype(np.float32),
        queries,
        2,
        [0.0, 0.5],
    )
    for weight, of_weight in ranked.items():
        for row, lexical in enumerate(bm25_scores(texts, queries)):
            scores = lexical + weight * item_embeddings @ query_embeddings[row]
            assert of_weight[queries[row]] == np.argsort(-scores)[:2].tolist()
