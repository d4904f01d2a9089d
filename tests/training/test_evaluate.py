"""Evaluation against scores worked out item by item, and the command around it."""

import json
import math
import os
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from radsearch.cli import build
from sid import OrderingWeights
from sid.lexical import K1, B, singulars_of, trigrams_of
from training.checkpoint import Provenance, load_decoder, save_checkpoint
from training.data.errors import DataError
from training.dataset import Dataset
from training.evaluate import Evaluation, evaluate
from training.judged import EvaluationError, judged_queries
from training.model import Decoder, DecoderConfig, Prompts

ORDERING = OrderingWeights(tau=4.0, prior=0.5, words=0.5, trigrams=0.125)


def code_log_probs(decoder: Decoder, dataset: Dataset, query: str) -> tuple[list[list[float]], list[float]]:
    """log p of every two-code SID, and the query vector, one plain causal pass per first code."""
    ids = [token for token in dataset.tokenizer.encode(query).ids if token]
    embedding = torch.from_numpy(dataset.embed([query]))
    ones = torch.ones(1, len(ids), dtype=torch.bool)
    prompt = decoder.embed_prompts(Prompts(torch.tensor([ids]), ones, embedding)).detach()
    rows: list[list[float]] = []
    with torch.no_grad():
        for first in range(decoder.config.codebook_sizes[0]):
            x = torch.cat([prompt, decoder.embed_codes(torch.tensor([[[first]]]))[0]], dim=1)
            length = x.shape[1]
            causal = torch.ones(1, length, length).tril().bool()
            hidden, _ = decoder(x, torch.arange(length)[None], causal)
            start = decoder.code_log_probs(hidden[0, -2], 0)[first]
            rows.append((start + decoder.code_log_probs(hidden[0, -1], 1)).tolist())
            vector = decoder.query_vectors(hidden[0, -2], embedding[0]).tolist()
    return rows, vector


def bm25(dataset: Dataset, query: str) -> np.ndarray[Any, Any]:
    """What the words and the trigrams of a query add to the score of every item, by bm25s."""
    total = np.zeros(dataset.n_items)
    for cut, weight in ((singulars_of, ORDERING.words), (trigrams_of, ORDERING.trigrams)):
        index = bm25s.BM25(k1=K1, b=B, method="lucene")
        index.index([cut(title) for title in dataset.titles], show_progress=False)
        known = [term for term in cut(query) if term in index.vocab_dict]
        if known:
            total += weight * index.get_scores(known)
    return total


def expected_metrics(decoder: Decoder, dataset: Dataset) -> dict[str, float]:
    """Rank all SIDs and all items of every test query in plain Python, average over queries."""
    with torch.no_grad():
        vectors = decoder.item_vectors(torch.from_numpy(dataset.item_embeddings)).numpy()
    leaf_of_item, prior = dataset.sids.leaf_of_item(), dataset.item_prior()
    per_query: list[dict[str, float]] = []
    for query, grades in dataset.relevance("test").items():
        relevant = {item for item, grade in grades.items() if grade >= dataset.positive_from}
        if not relevant:
            continue
        log_probs, vector = code_log_probs(decoder, dataset, query)
        of_leaf = [log_probs[first][second] for first, second in dataset.sids.codes]
        lexical = bm25(dataset, query)
        assert lexical.max() > 0
        sids = sorted(range(dataset.sids.n_leaves), key=lambda leaf: -of_leaf[leaf])
        score = [
            of_leaf[leaf_of_item[item]]
            + 4.0 * float(vectors[item] @ vector)
            + 0.5 * float(prior[item])
            + float(lexical[item])
            for item in range(dataset.n_items)
        ]
        items = sorted(range(dataset.n_items), key=lambda item: -score[item])
        relevant_sids = {leaf_of_item[item] for item in relevant}
        gains = [grades.get(item, 0.0) for item in items[:10]]
        dcg, ideal = (
            sum(gain / math.log2(rank + 2) for rank, gain in enumerate(some))
            for some in (gains, sorted(grades.values(), reverse=True))
        )
        per_query.append(
            {
                "SID Recall@8": len(relevant_sids.intersection(sids[:8])) / len(relevant_sids),
                "SID MRR": 1 / (1 + next(rank for rank, leaf in enumerate(sids) if leaf in relevant_sids)),
                "Item Recall@10": len(relevant.intersection(items[:10])) / len(relevant),
                "Item Recall@100": 1.0,
                "Item MRR": 1 / (1 + next(rank for rank, item in enumerate(items) if item in relevant)),
                "NDCG@10": dcg / ideal,
                # With K ≥ all combinations the unconstrained beams are all combinations.
                "Hallucination rate": 1 - dataset.sids.n_leaves / (4 * 3),
            }
        )
    return {name: float(np.mean([one[name] for one in per_query])) for name in per_query[0]}


def test_metrics_equal_those_worked_out_item_by_item(small_decoder: Decoder, judged_dataset: Dataset) -> None:
    evaluation = evaluate(
        small_decoder, judged_dataset, ORDERING, judged_queries(judged_dataset, "test"), beam_width=12
    )
    expected = expected_metrics(small_decoder, judged_dataset)
    assert {name: interval.mean for name, interval in evaluation.metrics.items()} == pytest.approx(
        expected, abs=1e-6
    )
    assert all(interval.low <= interval.mean <= interval.high for interval in evaluation.metrics.values())
    grades = judged_dataset.relevance("test").values()
    with_relevant = sum(any(grade >= 2.5 for grade in of_query.values()) for of_query in grades)
    assert (len(evaluation.queries), evaluation.n_without_relevant) == (
        with_relevant,
        len(grades) - with_relevant,
    )
    assert evaluation.n_without_relevant >= 2


def test_a_sample_of_queries_is_repeatable(small_decoder: Decoder, judged_dataset: Dataset) -> None:
    def measured() -> Evaluation:
        judged = judged_queries(judged_dataset, "test", 5, seed=7)
        return evaluate(small_decoder, judged_dataset, ORDERING, judged, beam_width=3, seed=7)

    first, second = measured(), measured()
    assert len(first.queries) == 5
    assert (first.queries, first.metrics) == (second.queries, second.metrics)


def test_a_decoder_for_other_codebooks_is_refused(judged_dataset: Dataset) -> None:
    other = Decoder(DecoderConfig(judged_dataset.tokenizer.get_vocab_size(), (4, 4), embedding_dim=6))
    with pytest.raises(EvaluationError, match=r"codebooks \(4, 4\), .* has \(4, 3\)"):
        evaluate(other, judged_dataset, ORDERING, judged_queries(judged_dataset, "test"), beam_width=4)


def test_a_split_without_relevant_items_is_refused(judged_dataset: Dataset) -> None:
    strict = Dataset(**{**judged_dataset.__dict__, "positive_from": 9.0})
    with pytest.raises(EvaluationError, match="no test query with a relevant item"):
        judged_queries(strict, "test")


@pytest.fixture
def checkpoint(small_decoder: Decoder, judged_dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, small_decoder, judged_dataset.tokenizer, ORDERING, Provenance("sft"))
    return path


def run(*arguments: str | Path) -> Result:
    argv = ["evaluate", *map(os.fspath, arguments)]
    return CliRunner().invoke(build(argv), argv)


def test_the_command_prints_and_keeps_the_report(judged_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports" / "report.json"
    result = run(
        "--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "8", "--json", "--out", out
    )
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["split"] == "test"
    assert report["beam_width"] == 8
    assert report["metrics"]["NDCG@10"].keys() == {"mean", "low", "high"}
    assert json.loads((checkpoint / "metrics.json").read_text()) == json.loads(out.read_text()) == report
    assert not list(checkpoint.glob(".*"))


def test_the_table_names_every_metric(judged_data: Path, checkpoint: Path) -> None:
    result = run("--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "8", "--max-queries", "4")
    assert "4 test queries, beam width 8" in result.stdout
    for name in ("SID Recall@8", "Item Recall@100", "NDCG@10", "Hallucination rate"):
        assert name in result.stdout


def test_a_missing_data_directory_is_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    result = run("--data", tmp_path / "none", "--checkpoint", checkpoint)
    assert isinstance(result.exception, DataError)
    assert not (checkpoint / "metrics.json").exists()


@pytest.mark.parametrize("option", ["--out", "--html"])
def test_a_report_that_cannot_be_written_is_one_sentence(
    option: str, judged_data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    result = run("--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "4", option, tmp_path)
    assert isinstance(result.exception, EvaluationError)
    assert f"{tmp_path} cannot be written" in str(result.exception)


def test_the_page_holds_what_the_report_says(judged_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    html = tmp_path / "evaluation.html"
    given = ("--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "8", "--json")
    report = json.loads(run(*given, "--html", html).stdout)
    page = html.read_text(encoding="utf-8")
    for name, interval in report["metrics"].items():
        cells = "".join(f"<td>{interval[end]:.4f}</td>" for end in ("mean", "low", "high"))
        assert f"<tr><td>{name}</td>{cells}</tr>" in page
    assert "mean over queries, 0 to 1" in page
    dataset = Dataset.load(judged_data)
    judged = judged_queries(dataset, "test")
    assert f"{judged.n_without_relevant} queries have no relevant item" in page
    decoder = load_decoder(checkpoint)
    values = evaluate(decoder, dataset, ORDERING, judged, 8).values["NDCG@10"].tolist()
    by_query = dict(zip(judged.grades, values, strict=True))
    listed = sorted(by_query, key=lambda query: page.index(f"<td>{query}</td>"))
    assert [by_query[query] for query in listed] == sorted(values)  # the worst first


def write_judgments(path: Path, grades: dict[str, dict[str, float]]) -> Path:
    rows = [f"{query},{item},{grade:g}" for query, items in grades.items() for item, grade in items.items()]
    path.write_text("\r\n".join(["query,item_id,grade", *rows, ""]), encoding="utf-8")
    return path


def test_a_file_of_judgments_is_judged_by_as_a_split_is(
    judged_data: Path, judged_dataset: Dataset, checkpoint: Path, tmp_path: Path
) -> None:
    ids = judged_dataset.item_ids
    grades = {
        query: {ids[row]: grade for row, grade in of_query.items()}
        for query, of_query in judged_dataset.relevance("test").items()
    }
    file = write_judgments(tmp_path / "judgments.csv", grades)
    given = ("--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "8", "--json")
    of_split = json.loads(run(*given).stdout)
    (checkpoint / "metrics.json").unlink()
    of_file = json.loads(run(*given, "--judgments", file, "--positive-from", "2.5").stdout)
    for name, interval in of_split["metrics"].items():
        assert of_file["metrics"][name] == pytest.approx(interval, abs=1e-6)
    assert (of_file["split"], of_file["n_without_relevant"]) == ("judged", of_split["n_without_relevant"])
    assert not (checkpoint / "metrics.json").exists()  # it is of a split


def test_judged_queries_need_not_be_in_the_data(judged_data: Path, checkpoint: Path, tmp_path: Path) -> None:
    given = ("--data", judged_data, "--checkpoint", checkpoint, "--beam-width", "8")
    new = {"never asked before": {"i1": 1, "i2": 0}, "nor this": {"i3": 0}, "gone": {"i99": 1}}
    file = write_judgments(tmp_path / "new.csv", new)
    assert "item 'i99' is not in items.parquet" in str(run(*given, "--judgments", file).exception)
    result = run(*given, "--judgments", file, "--on-error", "skip")
    assert "1 judged queries, beam width 8" in result.stdout
    assert "1 queries have no relevant item" in result.stdout
    assert "bad rows left out: 1" in result.stderr
    assert "item 'i99' is not in items.parquet" in result.stderr
    strict = run(*given, "--judgments", file, "--on-error", "skip", "--positive-from", "2")
    assert "has no item of grade 2 or more" in str(strict.exception)
