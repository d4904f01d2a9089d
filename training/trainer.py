"""The training loop: AdamW under a warm-up and a cosine, one process or many, resumable at any save."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sid import RadsearchError
from training.batches import Batches
from training.distributed import World
from training.objectives import Loss
from training.precision import Precision, autocast, float32_products
from training.progress import progress_bar
from training.run_state import RunState, discard_run, load_run, save_run
from training.step import TrainingStep

RECORDS = 100  # losses kept of a run, evenly spaced


class TrainingError(RadsearchError):
    """Training that went wrong in a way its settings can mend."""


@dataclass(frozen=True)
class OptimizerSettings:
    """How the weights move.

    Attributes:
        steps: in total.
        learning_rate: at its peak.
        warmup: share of the steps in which the learning rate rises from 0.
        weight_decay: on matrices; embeddings and norms are left alone.
        clip_norm: largest norm of the gradient.
        save_every: steps between two saves to resume from.
        precision: of matrix products, see :mod:`training.precision`.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    save_every: int = 200
    precision: Precision = "fast"


@dataclass(frozen=True)
class Run:
    """What to train, on what, and where to keep it meanwhile.

    Attributes:
        stage: name for the progress bar.
        step: the module whose loss is minimised.
        batches: what it is shown.
        optimizer: how its weights move.
        state: directory of the unfinished run.
        settings: all settings, plain JSON; a resumed run must have the same.
    """

    stage: str
    step: TrainingStep
    batches: Batches
    optimizer: OptimizerSettings
    state: Path
    settings: dict[str, Any]


def fit(run: Run, world: World, resume: bool = False) -> RunState:
    """Train to the last step.

    Args:
        run: what to train; ``run.step`` holds the result.
        world: the processes and this one's device.
        resume: go on from ``run.state`` instead of starting.

    Raises:
        TrainingError: if the loss is no longer finite.
        CheckpointError: if there is nothing to resume or the settings differ.
    """
    settings, module = run.optimizer, run.step.to(world.device).train()
    optimizer = make_optimizer(module, settings)
    state = RunState(0, 0.0, [], run.settings)
    if resume:
        state = load_run(run.state, run.settings, module, optimizer)
    elif world.leads:
        discard_run(run.state)
    forward: nn.Module = module
    if world.size > 1:
        forward = DistributedDataParallel(module, forward_sync_buffers=False)
    history = list(state.history)
    recent = Recent()
    started = time.perf_counter() - state.seconds
    with (
        progress_bar(run.stage, settings.steps, shown=world.leads) as report,
        float32_products(settings.precision),
    ):
        for step in range(state.step, settings.steps):
            batch = run.batches.at(step).share(world.rank, world.size).to(world.device)
            with autocast(settings.precision, world.device):
                loss: Loss = forward(batch)
            descend(loss.value, optimizer, settings, step)
            recent.add(loss.figures)
            done, seconds = step + 1, time.perf_counter() - started
            if done % math.ceil(settings.steps / RECORDS) == 0 or done == settings.steps:
                history.append({"step": done, **recent.means(done)})
                report(done, history[-1]["loss"], done * run.batches.batch_size / seconds)
            if world.leads and done % settings.save_every == 0 and done < settings.steps:
                save_run(run.state, RunState(done, seconds, history, run.settings), module, optimizer)
    return RunState(settings.steps, time.perf_counter() - started, history, run.settings)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, settings: OptimizerSettings, step: int) -> None:
    """Move the weights against the clipped gradient of a loss, at the learning rate of the step."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * schedule(step, settings)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(trained, settings.clip_norm)
    optimizer.step()


def make_optimizer(module: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW, with weight decay on the linear layers' matrices."""
    matrices = {id(part.weight) for part in module.modules() if isinstance(part, nn.Linear)}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) in matrices], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if id(p) not in matrices], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def schedule(step: int, settings: OptimizerSettings) -> float:
    """Share of the peak learning rate: linear up during warm-up, then half a cosine down to 0."""
    warmup = max(round(settings.warmup * settings.steps), 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(settings.steps - warmup, 1)))


class Recent:
    """Sums figures on the device, so that a step need not wait for their values."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, figures: dict[str, Tensor]) -> None:
        """Take in one step's figures."""
        for name, value in figures.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def means(self, step: int) -> dict[str, float]:
        """Average since the last call, over all processes.

        Raises:
            TrainingError: if a figure is not finite.
        """
        averages = torch.stack(list(self._sums.values())) / self._count
        if dist.is_initialized():
            dist.all_reduce(averages)
            averages /= dist.get_world_size()
        means = dict(zip(self._sums, averages.tolist(), strict=True))
        self._sums, self._count = {}, 0
        for name, value in means.items():
            if not math.isfinite(value):
                raise TrainingError(f"{name} is {value} at step {step}; lower --learning-rate")
        return means
