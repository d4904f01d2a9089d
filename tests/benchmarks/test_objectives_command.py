"""``radsearch bench objectives`` on a tiny shop: what it trains on, what it writes, and that it goes on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.progress import Progress
from typer.testing import Result

from benchmarks.objectives.command import StudyError
from benchmarks.objectives.plan import NOISE_RATES, SHARES, Probe, Trial, start_trial
from benchmarks.objectives.sessions import TrialDataset
from benchmarks.objectives.store import StoreError
from benchmarks.objectives.workbench import Bench, ContinuedSft, FlagsForNegatives, Workbench
from tests.benchmarks.runner import bench
from training.batches import Batches, BatchSettings
from training.data.prepare import PrepareSettings, prepare
from training.distributed import World
from training.settings import TrainSettings, read_settings
from training.shop.shop import ShopSettings, write_shop
from training.sids.build import SidSettings, build_sids
from training.tasks import PreferenceTask, Tasks
from training.train import TrainRequest, train

STEPS, QUERIES, BEAM_WIDTH = 2, 12, 8
METRICS = {
    "sid_recall@8",
    "sid_mrr",
    "item_recall@10",
    "item_recall@100",
    "item_mrr",
    "ndcg@10",
    "hallucination",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of 100 items, prepared, with SIDs."""
    path = tmp_path_factory.mktemp("shop")
    write_shop(path / "shop", ShopSettings(items=100))
    files = (path / "shop" / f"{name}.jsonl" for name in ("items", "sessions", "judgments"))
    items, sessions, judgments = files
    prepare(items, sessions, judgments, path / "data", PrepareSettings(vocab_size=400))
    build_sids(path / "data", SidSettings(codebooks=(8, 8, 8), dim=16), Progress(disable=True))
    return path / "data"


@pytest.fixture(scope="module")
def start(data: Path) -> Path:
    """A checkpoint after a few steps of SFT."""
    model = {"d_model": 16, "n_layers": 1, "head_dim": 8, "vector_dim": 8}
    settings = read_settings(None, {"steps": 5, "batch_size": 64, "model": model})
    out = data.parent / "sft"
    train(TrainRequest(data, out, "sft"), settings, World(0, 1, torch.device("cpu")), Console(stderr=True))
    return out


@pytest.fixture(scope="module")
def workbench(data: Path, start: Path) -> Workbench:
    settings = TrainSettings(batch_size=64)
    bench = Bench(data, start, start.parent / "scratch", QUERIES, BEAM_WIDTH, settings)
    return Workbench(bench, torch.device("cpu"))


def batches(workbench: Workbench, tasks: Tasks) -> Batches:
    return Batches(tasks, workbench.dataset.n_items, BatchSettings(batch_size=32, max_negatives=2))


def test_continued_sft_sees_the_same_sessions_in_the_same_order(workbench: Workbench) -> None:
    preference, sft = (batches(workbench, kind(workbench.dataset)) for kind in (PreferenceTask, ContinuedSft))
    assert len(preference) == len(sft)
    for step in range(2 * len(sft)):
        ours, theirs = preference.at(step), sft.at(step)
        n_positives = ours.n_positives
        assert torch.equal(ours.prompts.tokens, theirs.prompts.tokens)
        assert torch.equal(ours.candidates[:, :n_positives], theirs.candidates)
        assert torch.equal(ours.present[:, :n_positives], theirs.present)


@pytest.mark.parametrize("noise", [None, 0.3])
def test_flags_stand_where_the_negatives_do(workbench: Workbench, noise: float | None) -> None:
    sessions, pseudo = workbench.noisy_sessions(noise, seed=1)
    dataset = TrialDataset.of(workbench.dataset, sessions)
    items = batches(workbench, PreferenceTask(dataset))
    flags = batches(workbench, FlagsForNegatives(dataset, pseudo))
    judged = dataset.relevance("train")
    token_ids = {
        tuple(encoding.ids): query
        for query, encoding in zip(judged, dataset.tokenizer.encode_batch(list(judged)), strict=True)
    }
    relevant = {
        tuple(token for token in ids if token): {
            item for item, grade in judged[query].items() if grade >= dataset.positive_from
        }
        for ids, query in token_ids.items()
    }
    for step in range(len(items)):
        batch, truth = items.at(step), flags.at(step)
        for row, tokens in enumerate(batch.prompts.tokens.tolist()):
            query = tuple(token for token in tokens if token)
            for place in range(batch.n_positives, batch.candidates.shape[1]):
                if batch.present[row, place]:
                    expected = int(batch.candidates[row, place]) in relevant[query]
                    assert bool(truth.candidates[row, place]) == expected


def test_no_training_is_the_start_and_equal_trials_are_equal(workbench: Workbench) -> None:
    still = Trial(0, "sft", (), 1e-12, 1, "test")
    begun, moved = workbench.do(start_trial("test")), workbench.do(still)
    for name in METRICS:
        np.testing.assert_allclose(begun.values[name], moved.values[name], atol=1e-6)
        assert len(begun.values[name]) == QUERIES
    trial = Trial(1, "rad-dpo", (("beta", 1.0),), 1e-3, 3, "test", 0.5)
    first, second = workbench.do(trial), workbench.do(trial)
    assert first.figures == second.figures
    other = workbench.do(Trial(2, "rad-dpo", (("beta", 1.0),), 1e-3, 3, "test", 0.5))
    assert other.figures["final"] != first.figures["final"]
    assert other.figures["sessions"] == first.figures["sessions"]
    for name in METRICS:
        np.testing.assert_array_equal(first.values[name], second.values[name])


def test_training_that_diverges_is_a_result(workbench: Workbench) -> None:
    result = workbench.do(Trial(0, "sft", (), float("inf"), 2, "valid"))
    assert not result.values
    assert "lower --learning-rate" in str(result.error)


def test_the_share_of_pseudo_negatives_among_weighed_pairs_follows_the_rate(workbench: Workbench) -> None:
    shares = [workbench.do(Probe(0, noise)).figures["share"] for noise in (0.0, 0.3, 0.6)]
    assert shares[0] == 0
    assert shares == sorted(shares)


def command(data: Path, start: Path, work: Path, *more: str) -> list[str]:
    fixed = {
        "--data": data,
        "--from": start,
        "--work": work,
        "--steps": STEPS,
        "--seeds": 2,
        "--noise-seeds": 1,
        "--batch-size": 64,
        "--max-queries": QUERIES,
        "--beam-width": BEAM_WIDTH,
        "--objectives": "sft,rad-dpo",
        "--device": "cpu",
    }
    return ["objectives", *(str(word) for pair in fixed.items() for word in pair), *more]


def run(arguments: list[str]) -> Result:
    return bench(*arguments)


def result_of(arguments: list[str], out: Path) -> dict[str, Any]:
    ended = run([*arguments, "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@pytest.fixture(scope="module")
def whole(data: Path, start: Path) -> tuple[Path, dict[str, Any]]:
    """The work directory of a whole run, and its result."""
    work = data.parent / "work"
    page = ("--report", str(data.parent / "report.html"))
    return work, result_of(command(data, start, work, *page), data.parent / "result.json")


def test_the_result_has_every_row_with_its_intervals(whole: tuple[Path, dict[str, Any]]) -> None:
    _, result = whole
    ablations = ["without tlgd", "without rdrw", "without mlgc", "without global sft"]
    rows = list(result["metrics"])
    assert rows[:3] == ["start", "sft", "rad-dpo"]
    assert rows[3:7] == ablations
    assert rows[7:] in (["published reading"], ["calibrated reading"])
    for by_metric in result["metrics"].values():
        assert by_metric.keys() == METRICS
        assert all(one["low"] <= one["mean"] <= one["high"] for one in by_metric.values())
    for row in rows[1:]:
        seeds = result["by_seed"][row]["item_mrr"]
        assert result["metrics"][row]["item_mrr"]["mean"] == pytest.approx(np.mean(seeds))
        gap = result["differences"][row]["start"]["item_mrr"]["mean"]
        assert gap == pytest.approx(np.mean(seeds) - result["by_seed"]["start"]["item_mrr"][0])
    for row in ablations:
        assert result["differences"][row]["rad-dpo"]["item_mrr"].keys() == {"mean", "low", "high", "p"}
    assert result["differences"]["rad-dpo"]["sft"].keys() == METRICS
    assert list(result["scale"]) == [f"{share:g}" for share in SHARES]
    assert result["scale"]["1"]["metrics"]["rad-dpo"] == result["metrics"]["rad-dpo"]
    assert list(result["noise"]) == ["as logged", *(f"{rate:g}" for rate in NOISE_RATES)]
    assert (result["n_queries"], result["steps"], result["seeds"]) == (QUERIES, STEPS, [0, 1])
    assert (result["diverged"], result["missing"]) == ([], 0)
    assert len(result["revisions"]) >= 1


def test_what_was_tuned_is_there_with_every_point(whole: tuple[Path, dict[str, Any]]) -> None:
    tuned = whole[1]["tuned"]
    assert set(tuned) == {"sft", "rad-dpo (published)", "rad-dpo (calibrated)"}
    for one in tuned.values():
        assert one["valid_score"] == max(point["valid_score"] for point in one["grid"])
    readings = [tuned["rad-dpo (published)"], tuned["rad-dpo (calibrated)"]]
    best = max(readings, key=lambda one: one["valid_score"])
    assert best["chosen"]
    assert [one["chosen"] for one in readings].count(True) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_figures(
    whole: tuple[Path, dict[str, Any]], data: Path, start: Path, tmp_path: Path
) -> None:
    work, before = whole
    files = {path: path.stat().st_mtime_ns for path in work.glob("*.json")}
    lost = sorted(files)[::17]
    for path in lost:
        path.unlink()

    partial = result_of(command(data, start, work, "--report-only"), tmp_path / "partial.json")
    assert 0 < partial["missing"] <= len(lost) or partial["tuned"] != before["tuned"]
    assert not any(path.exists() for path in lost)

    after = result_of(command(data, start, work, "--workers", "1"), tmp_path / "after.json")
    assert figures_of(after) == figures_of(before)
    redone = {path for path in work.glob("*.json") if path.stat().st_mtime_ns != files.get(path)}
    assert redone == set(lost)
    again = result_of(command(data, start, work), tmp_path / "again.json")
    assert figures_of(again) == figures_of(before)
    assert again["compute_seconds"] == after["compute_seconds"]


def figures_of(result: dict[str, Any]) -> dict[str, Any]:
    """All that no run may change."""
    of_the_run = ("git", "revisions", "compute_seconds")
    return {name: value for name, value in result.items() if name not in of_the_run}


def test_the_page_needs_nothing_else_and_shows_every_row(whole: tuple[Path, dict[str, Any]]) -> None:
    work, result = whole
    page = (work.parent / "report.html").read_text()
    assert "http" not in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    for row in result["metrics"]:
        assert f"<td>{row}</td>" in page
    assert page.count("<svg") >= len(METRICS) + 6
    assert f"{result['metrics']['rad-dpo']['item_mrr']['mean']:.4f}" in page


def test_results_of_another_setup_are_not_mixed_in(
    whole: tuple[Path, dict[str, Any]], data: Path, start: Path
) -> None:
    ended = run([*command(data, start, whole[0]), "--beam-width", "4"])
    assert isinstance(ended.exception, StoreError)
    assert "beam_width = 8, now it is 4; choose another --work" in str(ended.exception)


def test_a_directory_with_other_things_is_left_alone(data: Path, start: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    ended = run(command(data, start, tmp_path))
    assert isinstance(ended.exception, StoreError)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("flag", ["--objectives", "--parts"])
def test_an_unknown_name_is_one_sentence(data: Path, start: Path, tmp_path: Path, flag: str) -> None:
    ended = run([*command(data, start, tmp_path), flag, "sft,unheard-of"])
    assert isinstance(ended.exception, StudyError)
    assert "unheard-of" in str(ended.exception) or "'sft'" in str(ended.exception)


def test_noise_needs_items_known_to_be_relevant(data: Path, start: Path, tmp_path: Path) -> None:
    prepare(
        data.parent / "shop" / "items.jsonl",
        None,
        data.parent / "shop" / "judgments.jsonl",
        tmp_path / "judged",
        PrepareSettings(vocab_size=400),
    )
    build_sids(tmp_path / "judged", SidSettings(codebooks=(8, 8, 8), dim=16), Progress(disable=True))
    ended = run([*command(tmp_path / "judged", start, tmp_path / "work"), "--parts", "noise"])
    assert isinstance(ended.exception, StudyError)
    assert "leave noise out of --parts" in str(ended.exception)
