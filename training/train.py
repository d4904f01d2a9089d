"""``radsearch train`` from end to end: data and settings in, checkpoint out."""

import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from sid import OrderingWeights, RadsearchError
from training.batches import Batches, BatchSettings
from training.checkpoint import CONFIG, Provenance, load_decoder, save_checkpoint
from training.data.atomic import check_replaceable
from training.dataset import Dataset
from training.distributed import World
from training.model import Decoder
from training.objectives import Objective
from training.ordering import tune
from training.qwen3 import decoder_from_qwen3
from training.run_state import discard_run, unfinished
from training.settings import TrainSettings, make_objective
from training.step import QueryVectorSettings, TrainingStep
from training.tasks import PreferenceTask, SupervisedTasks
from training.trainer import OptimizerSettings, Run, fit


class StartError(RadsearchError):
    """The decoder to start from does not fit the data or the objective."""


@dataclass(frozen=True)
class TrainRequest:
    """What to train from what.

    Attributes:
        data: data directory with SIDs.
        out: checkpoint to write.
        objective: name in the registry.
        parent: checkpoint to start from, or None.
        init_from: Qwen3 model to take weights from, or None.
        resume: go on with the interrupted run of ``out``.
    """

    data: Path
    out: Path
    objective: str
    parent: Path | None = None
    init_from: Path | None = None
    resume: bool = False


def train(request: TrainRequest, settings: TrainSettings, world: World, console: Console) -> dict[str, Any]:
    """Train, tune the ordering of items on validation queries, and write the checkpoint.

    Returns:
        The figures of the run, as in the checkpoint's ``training.json``.
    """
    check_replaceable(request.out, CONFIG)
    objective = make_objective(request.objective, settings.objective)
    dataset = Dataset.load(request.data)
    torch.manual_seed(settings.seed)
    decoder = starting_decoder(request, settings, dataset, console)
    run = plan(request, settings, dataset, decoder, objective, world)
    state = fit(run, world, request.resume)
    if not world.leads:
        return {}
    decoder.eval()
    figures = {
        "steps": state.step,
        "examples": state.step * run.batches.batch_size,
        "seconds": round(state.seconds, 2),
        "examples_per_s": round(state.step * run.batches.batch_size / state.seconds, 1),
        "processes": world.size,
        "device": world.device.type,
        "parameters": sum(parameter.numel() for parameter in decoder.parameters()),
        "peak_memory_mb": peak_memory_mb(world.device),
        "final": state.history[-1],
        "history": state.history,
    }
    ordering = tuned(decoder, dataset, settings, console)
    figures["ordering"] = ordering.to_dict()
    parent = str(request.parent or request.init_from) if request.parent or request.init_from else None
    provenance = Provenance(request.objective, run.settings, parent, figures)
    save_checkpoint(request.out, decoder, dataset.tokenizer, ordering, provenance)
    discard_run(run.state)
    return figures


def plan(
    request: TrainRequest,
    settings: TrainSettings,
    dataset: Dataset,
    decoder: Decoder,
    objective: Objective[Any],
    world: World,
) -> Run:
    """Put together what a run consists of; what the settings leave open is the objective's choice."""
    tasks = PreferenceTask(dataset) if objective.uses_negatives else SupervisedTasks(dataset)
    batch_settings = BatchSettings(
        settings.batch_size,
        settings.max_positives,
        settings.max_negatives,
        settings.sampled_items,
        settings.seed,
    )
    batches = Batches(tasks, dataset.n_items, batch_settings, world.size)
    epochs = settings.epochs or objective.epochs
    optimizer = OptimizerSettings(
        steps=settings.steps or max(round(epochs * len(batches)), 1),
        learning_rate=settings.learning_rate or objective.learning_rate,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        save_every=settings.save_every,
        precision=settings.precision,
    )
    vectors = QueryVectorSettings(settings.vector_weight, settings.temperature)
    return Run(
        stage=request.objective,
        step=TrainingStep(decoder, objective, dataset, vectors),
        batches=batches,
        optimizer=optimizer,
        state=unfinished(request.out),
        settings={**settings.model_dump(mode="json"), "objective": vars(objective.settings)},
    )


def starting_decoder(
    request: TrainRequest, settings: TrainSettings, dataset: Dataset, console: Console
) -> Decoder:
    """The decoder that training starts from: a checkpoint's, Qwen3's, or a new one.

    Raises:
        StartError: if a checkpoint was made for other data, or an objective that compares has no start.
    """
    if request.parent and request.init_from:
        raise StartError("--from and --init-from name two decoders to start from; give one of them")
    truncation = dataset.tokenizer.truncation
    if truncation is None:
        raise StartError(
            f"{dataset.path}/tokenizer.json sets no longest prompt; run 'radsearch prepare' again"
        )
    config = settings.model.fill(
        dataset.tokenizer.get_vocab_size(),
        dataset.sids.codebook_sizes,
        dataset.item_embeddings.shape[1],
        truncation["max_length"],
    )
    if request.init_from:
        decoder, takes_tokens = decoder_from_qwen3(request.init_from, config)
        if not takes_tokens:
            console.print(
                f"{request.init_from} has another tokenizer than {dataset.path}: its layers are taken, token "
                "embeddings start anew"
            )
        return decoder
    if not request.parent:
        return Decoder(config)
    decoder = load_decoder(request.parent)
    for name in ("vocab_size", "codebook_sizes", "embedding_dim"):
        theirs, ours = getattr(decoder.config, name), getattr(config, name)
        if theirs != ours:
            raise StartError(
                f"{request.parent} was trained with {name} {theirs}, {dataset.path} has {ours}; "
                "start from a checkpoint made with this data"
            )
    return decoder


def tuned(decoder: Decoder, dataset: Dataset, settings: TrainSettings, console: Console) -> OrderingWeights:
    """Tune the ordering on validation queries, with a progress bar."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:

        def track(batches: list[list[str]]) -> Iterable[list[str]]:
            return progress.track(batches, description="tune ordering")

        return tune(decoder, dataset, beam_width=settings.beam_width, seed=settings.seed, track=track)


def peak_memory_mb(device: torch.device) -> dict[str, int]:
    """Most memory this process has held so far: main memory, and the device's if it is a GPU."""
    peak = {"main": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device) // 2**20
    return peak
