from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from training.batches import Batch, Batches
from training.checkpoint import CheckpointError
from training.dataset import Dataset
from training.distributed import DeviceError, World, joined_world
from training.precision import float32_products
from training.run_state import RunState
from training.settings import make_objective, read_settings
from training.train import TrainRequest, plan, starting_decoder
from training.trainer import OptimizerSettings, Run, TrainingError, fit, make_optimizer, schedule

ALONE = World(0, 1, torch.device("cpu"))
SMALL = {
    "model": {"d_model": 16, "n_layers": 1, "head_dim": 8, "vector_dim": 4},
    "batch_size": 10,
    "steps": 12,
    "save_every": 5,
    "learning_rate": 0.01,
    "sampled_items": 8,
}


class PowerCutError(Exception):
    """Stands for a process that dies."""


class CutOff(Batches):
    """Dies before the step it is told."""

    dies_at = 8

    def at(self, step: int) -> Batch:
        if step == self.dies_at:
            raise PowerCutError
        return super().at(step)


def make_run(dataset: Dataset, out: Path, objective: str = "sft", **settings: object) -> Run:
    request = TrainRequest(dataset.path, out, objective)
    chosen = read_settings(None, SMALL | settings)
    torch.manual_seed(chosen.seed)
    decoder = starting_decoder(request, chosen, dataset, Console(stderr=True))
    return plan(request, chosen, dataset, decoder, make_objective(objective, chosen.objective), ALONE)


def cut_off(run: Run) -> None:
    run.batches.__class__ = CutOff
    with pytest.raises(PowerCutError):
        fit(run, ALONE)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.step.state_dict().items()}


@pytest.mark.parametrize("objective", ["sft", "rad-dpo", "dpo"])
def test_an_interrupted_run_ends_with_the_same_bits(
    objective: str, session_dataset: Dataset, tmp_path: Path
) -> None:
    whole = make_run(session_dataset, tmp_path / "whole", objective)
    fit(whole, ALONE)
    broken = make_run(session_dataset, tmp_path / "broken", objective)
    cut_off(broken)
    assert [entry.name for entry in broken.state.iterdir()] == ["step-000000005"]

    resumed = make_run(session_dataset, tmp_path / "broken", objective)
    state = fit(resumed, ALONE, resume=True)
    assert state.step == 12
    assert weights(resumed).keys() == weights(whole).keys()
    for name, tensor in weights(whole).items():
        assert torch.equal(weights(resumed)[name], tensor), name


def test_training_lowers_the_loss(session_dataset: Dataset, tmp_path: Path) -> None:
    state = fit(make_run(session_dataset, tmp_path / "out", steps=500), ALONE)
    # Single steps of ten examples are noisy; ten records are thirty steps. A pseudo-query leads to half of
    # this catalogue, whose SIDs are random, so a good part of the loss stays.
    for figure in ("sft", "query vector"):
        losses = [record[figure] for record in state.history]
        assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert state.history[-1]["step"] == 500


def test_preferred_items_come_to_win(session_dataset: Dataset, tmp_path: Path) -> None:
    state = fit(make_run(session_dataset, tmp_path / "out", "rad-dpo", steps=150), ALONE)
    assert state.history[-1]["preference"] < state.history[0]["preference"]
    assert state.history[-1]["pairs won"] > state.history[0]["pairs won"]


def test_a_seed_repeats_a_run_and_another_does_not(session_dataset: Dataset, tmp_path: Path) -> None:
    def trained(seed: int) -> torch.Tensor:
        run = make_run(session_dataset, tmp_path / "out", steps=3, seed=seed)
        fit(run, ALONE)
        return weights(run)["decoder.norm.weight"]

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_the_starting_decoder_stays_the_reference(session_dataset: Dataset, tmp_path: Path) -> None:
    run = make_run(session_dataset, tmp_path / "out", "dpo")
    before = weights(run)
    fit(run, ALONE)
    after = weights(run)
    for name in before:
        if name.startswith("reference."):
            assert torch.equal(after[name], before[name])
    assert not torch.equal(after["decoder.norm.weight"], before["decoder.norm.weight"])


def test_resuming_needs_a_run_and_its_settings(session_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run to resume"):
        fit(make_run(session_dataset, tmp_path / "out"), ALONE, resume=True)
    cut_off(make_run(session_dataset, tmp_path / "out"))
    other = make_run(session_dataset, tmp_path / "out", learning_rate=0.02)
    with pytest.raises(CheckpointError, match=r"learning_rate = 0\.01, now it is 0\.02"):
        fit(other, ALONE, resume=True)


def test_a_new_run_forgets_the_unfinished_one(session_dataset: Dataset, tmp_path: Path) -> None:
    cut_off(make_run(session_dataset, tmp_path / "out", save_every=7))
    cut_off(make_run(session_dataset, tmp_path / "out", save_every=2))
    run = make_run(session_dataset, tmp_path / "out", save_every=2)
    assert [entry.name for entry in run.state.iterdir()] == ["step-000000008"]
    fit(run, ALONE, resume=True)


def test_products_are_set_back_to_what_they_were() -> None:
    before = torch.get_float32_matmul_precision()
    inside = []
    for precision in ("fast", "full"):
        with float32_products(precision):
            inside.append(torch.get_float32_matmul_precision())
    assert inside == ["medium", "highest"]
    assert torch.get_float32_matmul_precision() == before


def test_a_loss_that_is_not_finite_stops_the_run(session_dataset: Dataset, tmp_path: Path) -> None:
    run = make_run(session_dataset, tmp_path / "out")
    with torch.no_grad():
        run.step.decoder.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="is nan at step 1; lower --learning-rate"):
        fit(run, ALONE)


def test_the_learning_rate_rises_and_falls() -> None:
    settings = OptimizerSettings(steps=100, learning_rate=1.0, warmup=0.1)
    rates = [schedule(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert all(earlier > later > 0 for earlier, later in pairwise(rates[10:]))
    assert schedule(0, OptimizerSettings(steps=1, learning_rate=1.0)) == 1.0


def test_weight_decay_spares_embeddings_and_norms(session_dataset: Dataset, tmp_path: Path) -> None:
    run = make_run(session_dataset, tmp_path / "out")
    names = {id(parameter): name for name, parameter in run.step.named_parameters()}
    decayed, spared = make_optimizer(run.step, run.optimizer).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    assert all("proj" in names[id(p)] or "head" in names[id(p)] for p in decayed["params"])
    assert all("norm" in names[id(p)] or "embed" in names[id(p)] for p in spared["params"])
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="use --device cpu"), joined_world("cuda"):
        pass
    with joined_world("auto") as world:
        assert (world.rank, world.size, world.device.type, world.leads) == (0, 1, "cpu", True)


def test_state_counts_time_over_interruptions(session_dataset: Dataset, tmp_path: Path) -> None:
    cut_off(make_run(session_dataset, tmp_path / "out"))
    resumed = make_run(session_dataset, tmp_path / "out")
    state: RunState = fit(resumed, ALONE, resume=True)
    assert [record["step"] for record in state.history] == list(range(1, 13))
