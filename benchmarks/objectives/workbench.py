"""What a process needs to do jobs, loaded once: data, starting checkpoint, queries to judge by."""

import copy
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.objectives.detection import WatchedRadDpo, Weighed, detection, watch
from benchmarks.objectives.plan import START, Job, Probe, Trial
from benchmarks.objectives.sessions import (
    TrialDataset,
    Truth,
    as_logged,
    share_of,
    truths,
    with_negatives,
    with_noise,
)
from benchmarks.objectives.store import Result
from benchmarks.record import slug
from training.batches import Batches, BatchSettings
from training.checkpoint import load_decoder, load_ordering
from training.data.splits import Split
from training.dataset import Dataset, Session
from training.distributed import World
from training.evaluate import per_query_values
from training.judged import JudgedQueries, judged_queries
from training.metrics import PerQuery
from training.model import Decoder
from training.objectives import Objective
from training.objectives.rad_dpo import RadDpoSettings
from training.ragged import Ragged
from training.settings import TrainSettings, make_objective
from training.step import QueryVectorSettings, TrainingStep
from training.tasks import Examples, PreferenceTask, Tasks
from training.trainer import OptimizerSettings, Run, TrainingError, fit


@dataclass(frozen=True)
class Bench:
    """What all jobs of a benchmark have in common.

    Attributes:
        data: data directory with SIDs.
        start: checkpoint that every training starts from.
        scratch: directory for what training writes meanwhile.
        max_queries: most queries of a split that judge.
        beam_width: K of the searches.
        training: settings of all trainings, but for what a trial names.
    """

    data: Path
    start: Path
    scratch: Path
    max_queries: int
    beam_width: int
    training: TrainSettings


class Workbench:
    """Does jobs, one at a time."""

    def __init__(self, bench: Bench, device: torch.device) -> None:
        self._bench = bench
        self._world = World(0, 1, device)
        self._decoder = load_decoder(bench.start)
        self._ordering = load_ordering(bench.start)
        self._judged: dict[Split, JudgedQueries] = {}
        self.dataset = Dataset.load(bench.data)

    def do(self, job: Job) -> Result:
        """Do a job; a training that diverges is a result, too."""
        started = time.perf_counter()
        values: PerQuery = {}
        figures: dict[str, Any] = {}
        error = None
        try:
            if isinstance(job, Trial):
                decoder, figures = self._trained(job)
                values = self._judge(decoder, job.split)
            elif isinstance(job, Probe):
                figures = detection(self._watched(job))
        except TrainingError as problem:
            error = str(problem)
        return Result(values, figures, round(time.perf_counter() - started, 2), error)

    def judged(self, split: Split) -> JudgedQueries:
        """The queries that judge."""
        if split not in self._judged:
            self._judged[split] = judged_queries(self.dataset, split, self._bench.max_queries)
        return self._judged[split]

    def noisy_sessions(self, noise: float | None, seed: int) -> tuple[list[Session], list[NDArray[np.bool_]]]:
        """Training sessions at a rate of noise, or as they are, and which of their negatives are relevant."""
        if noise is None:
            return self._sessions, as_logged(self._sessions, self._truths)
        return with_noise(self._sessions, self._truths, noise, seed)

    @cached_property
    def _sessions(self) -> list[Session]:
        return with_negatives(self.dataset)

    @cached_property
    def _truths(self) -> dict[str, Truth]:
        return truths(self.dataset, self._sessions)

    def _trained(self, trial: Trial) -> tuple[Decoder, dict[str, Any]]:
        decoder = copy.deepcopy(self._decoder).to(self._world.device)
        if trial.objective == START:
            return decoder.eval(), {}
        objective = make_objective(trial.objective, dict(trial.options))
        sessions = self._sessions
        if trial.noise is not None:
            sessions, _ = self.noisy_sessions(trial.noise, trial.seed)
        dataset = TrialDataset.of(self.dataset, share_of(sessions, trial.session_share, trial.seed))
        tasks = PreferenceTask(dataset) if objective.uses_negatives else ContinuedSft(dataset)
        settings = self._bench.training
        optimizer = OptimizerSettings(
            steps=trial.steps,
            learning_rate=trial.learning_rate,
            warmup=settings.warmup,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            save_every=trial.steps + 1,  # never: a trial is short and starts anew
            precision=settings.precision,
        )
        run = Run(
            stage=trial.objective,
            step=self._step(decoder, objective, dataset),
            batches=self._batches(tasks, trial.seed),
            optimizer=optimizer,
            state=self._bench.scratch / trial.key,
            settings={},
        )
        torch.manual_seed(trial.seed)
        state = fit(run, self._world)
        return decoder.eval(), {"sessions": len(dataset.training), "final": state.history[-1]}

    def _judge(self, decoder: Decoder, split: Split) -> PerQuery:
        grades, width = self.judged(split).grades, self._bench.beam_width
        values = per_query_values(decoder, self.dataset, self._ordering, grades, width)
        return {slug(name): value for name, value in values.items()}

    def _watched(self, probe: Probe) -> Weighed:
        sessions, pseudo = self.noisy_sessions(probe.noise, probe.seed)
        dataset = TrialDataset.of(self.dataset, sessions)
        both = (PreferenceTask(dataset), FlagsForNegatives(dataset, pseudo))
        items, truth = (self._batches(tasks, probe.seed) for tasks in both)
        objective = WatchedRadDpo(RadDpoSettings())
        step = self._step(copy.deepcopy(self._decoder), objective, dataset)
        return watch(step.to(self._world.device).eval(), objective, items, truth)

    def _step(self, decoder: Decoder, objective: Objective[Any], dataset: Dataset) -> TrainingStep:
        settings = self._bench.training
        vectors = QueryVectorSettings(settings.vector_weight, settings.temperature)
        return TrainingStep(decoder, objective, dataset, vectors)

    def _batches(self, tasks: Tasks, seed: int) -> Batches:
        settings = self._bench.training
        batch_settings = BatchSettings(
            settings.batch_size,
            settings.max_positives,
            settings.max_negatives,
            settings.sampled_items,
            seed,
        )
        return Batches(tasks, self.dataset.n_items, batch_settings)


class ContinuedSft(PreferenceTask):
    """The same examples without their negatives, which cost time and teach SFT nothing."""

    def epoch(self, rng: np.random.Generator) -> Examples:
        """The examples of an epoch."""
        examples = super().epoch(rng)
        return replace(examples, negatives=Ragged.empty(len(examples)))


class FlagsForNegatives(PreferenceTask):
    """The same examples with 1 for each negative that is relevant in truth, and 0 for the others.

    Batches are drawn by the lengths of rows alone, so those of the flags stand where those of the items do.
    """

    def __init__(self, dataset: Dataset, flags: list[NDArray[np.bool_]]) -> None:
        super().__init__(dataset)
        self._flags = Ragged.of(flags)

    def epoch(self, rng: np.random.Generator) -> Examples:
        """The examples of an epoch."""
        return replace(super().epoch(rng), negatives=self._flags)
