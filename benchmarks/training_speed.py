"""``radsearch bench training-speed``: our DPO and RAD-DPO beside TRL's DPO, on the same sessions.

Ours is the loop of ``radsearch train``, batches and query vector included. TRL's has one example per pair of
a positive and a negative, as :mod:`benchmarks.trl_dpo` says. Both see every session once per round.
"""

import copy
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from benchmarks.rounds import Report, in_turns, per_second
from benchmarks.sessions import build_shop, choose_sessions, make_pairs, packed_tokens
from sid import RadsearchError
from training.batches import Batch, Batches
from training.dataset import Dataset
from training.distributed import World, joined_world
from training.model import Decoder
from training.settings import TrainSettings, make_objective, read_settings
from training.train import TrainRequest, plan, starting_decoder
from training.trainer import fit

SHOP_ITEMS = 2_000
COMPILED = "rad-dpo compiled"


class TrainingSpeedError(RadsearchError):
    """A package that this benchmark cannot work without."""


@dataclass(frozen=True)
class SpeedSettings:
    """What is measured.

    Attributes:
        sessions: seen once per round.
        batch_size: sessions per step of ours.
        pairs_per_step: examples per step of TRL's.
        rounds: that are timed.
        d_model, n_layers: shape of the decoder; the rest as ``radsearch train`` has it.
        compiled: whether RAD-DPO is also measured under ``torch.compile``.
        seed: of weights, of the sessions chosen and of what is drawn.
    """

    sessions: int = 256
    batch_size: int = 64
    pairs_per_step: int = 16
    rounds: int = 3
    d_model: int = 256
    n_layers: int = 4
    compiled: bool = False
    seed: int = 0


class TimedBatches(Batches):
    """Batches that keep the time it takes to make them.

    Attributes:
        seconds: spent so far.
    """

    def __init__(self, batches: Batches) -> None:
        self.__dict__.update(vars(batches))
        self.seconds = 0.0

    def at(self, step: int) -> Batch:
        """As in :class:`Batches`."""
        started = time.perf_counter()
        batch = super().at(step)
        self.seconds += time.perf_counter() - started
        return batch


class OurTraining:
    """The loop of ``radsearch train`` from a given decoder.

    Attributes:
        seconds: of all calls but the first, and ``batch_seconds``, what of them went into making batches.
        loss: of the latest call, as the objective names it.
    """

    def __init__(
        self,
        objective: str,
        decoder: Decoder,
        dataset: Dataset,
        settings: TrainSettings,
        world: World,
        scratch: Path,
    ) -> None:
        request = TrainRequest(dataset.path, scratch / objective, objective)
        run = plan(request, settings, dataset, copy.deepcopy(decoder), make_objective(objective, {}), world)
        self._batches = TimedBatches(run.batches)
        self._run = replace(run, batches=self._batches)
        self._world = world
        self._started = False
        self.seconds = self.batch_seconds = 0.0
        self.loss = float("nan")

    def compile(self) -> None:
        """Have the decoder compiled, layer by layer: one compilation serves them all."""
        for layer in self._run.step.decoder.layers:
            layer.compile(dynamic=True)

    def train(self) -> float:
        """Train on every session once.

        Returns:
            Seconds from the first step to the last.
        """
        before = self._batches.seconds
        state = fit(self._run, self._world)
        self.loss = state.history[-1]["preference"]
        if self._started:
            self.seconds += state.seconds
            self.batch_seconds += self._batches.seconds - before
        self._started = True
        return state.seconds


def measure(data: Path, settings: SpeedSettings, world: World, report: Report) -> dict[str, Any]:
    """Train on the same sessions in turns.

    Args:
        data: directory with SIDs and training sessions.
        settings: sizes.
        world: this process alone, and its device.
        report: told what goes on.

    Raises:
        TrainingSpeedError: if TRL is not installed.
        SessionsError: if there are too few sessions.
    """
    # TRL and what it imports take seconds to load, and no other benchmark needs them.
    try:
        from benchmarks.trl_dpo import TrlDpo, pair_tokens  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise TrainingSpeedError(
            f"this benchmark needs the package {error.name!r}; "
            "install it with: pip install 'radsearch[train,bench]'"
        ) from error
    training = _training_settings(settings, world.device)
    dataset = choose_sessions(
        Dataset.load(data), settings.sessions, training.max_positives, training.max_negatives, settings.seed
    )
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        request = TrainRequest(data, scratch, "dpo")
        torch.manual_seed(settings.seed)
        decoder = starting_decoder(request, training, dataset, Console(stderr=True))
        ours = {
            name: OurTraining(name, decoder, dataset, training, world, scratch) for name in ("dpo", "rad-dpo")
        }
        pairs = make_pairs(dataset, decoder.config)
        theirs = TrlDpo(
            decoder.config,
            pairs,
            settings.pairs_per_step,
            make_objective("dpo", {}).learning_rate,
            training.precision,
            world.device,
            settings.seed,
            scratch,
        )
        report("Warming up")
        for one in ours.values():
            one.train()
        theirs.train(steps=2)
        compiling: dict[str, Any] = {"measured": False, "reason": "not asked for; see --compile"}
        if settings.compiled:
            report("Compiling the decoder")
            compiled = OurTraining("rad-dpo", decoder, dataset, training, world, scratch)
            compiling = _compile(compiled)
            if compiling["measured"]:
                ours[COMPILED] = compiled
        contenders: dict[str, Callable[[], float]] = {name: one.train for name, one in ours.items()}
        seconds = in_turns({**contenders, "trl dpo": theirs.train}, settings.rounds, report)

    n, n_packed = settings.sessions, packed_tokens(dataset, decoder.config)
    n_paired = sum(map(pair_tokens, pairs))
    speeds = {name: per_second(n, taken) for name, taken in seconds.items()}
    own = {
        name: {
            "sessions_per_s": speeds[name],
            "tokens_per_s": per_second(n_packed, seconds[name]),
            "data_share": one.batch_seconds / one.seconds,
            "loss": one.loss,
        }
        for name, one in ours.items()
    }
    if compiling["measured"]:
        compiling = {**compiling, "ratio": speeds[COMPILED] / speeds["rad-dpo"]}
    return {
        "settings": {**asdict(settings), "precision": training.precision},
        "data": {
            "sessions": n,
            "positives": sum(len(session.positives) for session in dataset.chosen) / n,
            "negatives": sum(len(session.negatives) for session in dataset.chosen) / n,
            "pairs": len(pairs) / n,
            "tokens_packed": n_packed / n,
            "tokens_as_pairs": n_paired / n,
        },
        "ratio_vs_trl": speeds["dpo"] / speeds["trl dpo"],
        "data_share": max(one["data_share"] for one in own.values()),
        "ours": own,
        "trl": {
            "sessions_per_s": speeds["trl dpo"],
            "tokens_per_s": per_second(n_paired, seconds["trl dpo"]),
            "loss": theirs.loss,
        },
        "parameters": {
            "ours": sum(parameter.numel() for parameter in decoder.parameters()),
            "trl": theirs.n_parameters,
        },
        "compile": compiling,
        "seconds": seconds,
    }


def _training_settings(settings: SpeedSettings, device: torch.device) -> TrainSettings:
    return read_settings(
        None,
        {
            "model": {"d_model": settings.d_model, "n_layers": settings.n_layers},
            "batch_size": settings.batch_size,
            "epochs": 1,
            "seed": settings.seed,
            "device": device.type,
        },
    )


def _compile(training: OurTraining) -> dict[str, Any]:
    """Run a compiled decoder for the first time."""
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what torch's compiler imports and of how it traces
            training.compile()
            training.train()
    except RuntimeError as error:  # the base of what torch's compiler raises
        return {"measured": False, "reason": str(error).strip().splitlines()[0]}
    return {"measured": True, "seconds_to_compile": time.perf_counter() - started}


def training_speed(
    data: Annotated[
        Path | None, typer.Option(help="Data directory, with SIDs; left out, that of a synthetic shop.")
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions seen per round.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Sessions per step of ours.")] = 64,
    pairs_per_step: Annotated[int, typer.Option(min=1, help="Pairs per step of TRL's.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds that are timed.")] = 3,
    d_model: Annotated[int, typer.Option(min=32, help="Width of the decoder.")] = 256,
    n_layers: Annotated[int, typer.Option(min=1, help="Its depth.")] = 4,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also measure RAD-DPO under torch.compile; takes minutes.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, sessions and draws.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure our training beside TRL's DPO, on the same sessions with a model of the same shape.

    TRL trains a Qwen3 of transformers whose vocabulary ends with the codes, on one example per pair of a
    positive and a negative.

    Example: radsearch bench training-speed --out benchmarks/results/training-speed.json
    """
    settings = SpeedSettings(sessions, batch_size, pairs_per_step, rounds, d_model, n_layers, compiled, seed)
    with (
        joined_world(device) as world,
        tempfile.TemporaryDirectory() as directory,
        Console(stderr=True).status("Preparing sessions") as status,
    ):
        prepared = data or build_shop(Path(directory), SHOP_ITEMS, seed)
        figures = measure(prepared, settings, world, status.update)
        result = record(
            "training-speed", world.device, [seed], figures, ("transformers", "trl", "accelerate")
        )
    deliver(result, out, as_json, _print)


def _print(result: dict[str, Any], console: Console) -> None:
    table = Table(box=None, header_style="dim")
    for header in ("", "sessions/s", "tokens/s", "making batches"):
        table.add_column(header, justify="left" if not header else "right")
    for name, one in result["ours"].items():
        share = f"{one['data_share']:.1%}"
        table.add_row(name, f"{one['sessions_per_s']:,.1f}", f"{one['tokens_per_s']:,.0f}", share)
    trl = result["trl"]
    table.add_row("trl dpo", f"{trl['sessions_per_s']:,.1f}", f"{trl['tokens_per_s']:,.0f}", "")
    console.print(table)
    data = result["data"]
    console.print(
        f"DPO at {result['ratio_vs_trl']:.1f} times TRL's sessions/s; a session has {data['pairs']:.1f} "
        f"pairs, {data['tokens_packed']:.1f} tokens packed and {data['tokens_as_pairs']:.1f} as pairs"
    )
    if not result["compile"]["measured"]:
        console.print(f"torch.compile: {result['compile']['reason']}", markup=False)
