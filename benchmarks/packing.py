"""``radsearch bench packing``: label packing against a sequence per candidate, in full RAD-DPO steps.

Both sides score the same sessions with the same weights through the same code; the unpacked side gives
every candidate its own copy of the prompt. A step is forward, hidden states at [EOS] for RDRW, backward,
clipping and AdamW. The query vector's loss, which costs both sides the same, is left out.
"""

import copy
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.attention import ATTENTIONS, use_attention
from benchmarks.memory import peak_bytes, restart_peak
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from benchmarks.rounds import Report, in_turns, per_second, timed
from sid import RadsearchError
from training.distributed import joined_world
from training.model import Decoder, DecoderConfig, Prompts
from training.objectives.base import Candidates
from training.objectives.rad_dpo import WINDOW, RadDpo, RadDpoSettings
from training.packing import Packed, Scores, score
from training.precision import Precision, autocast, float32_products
from training.tokenizer import BOS, EOS, SEP
from training.trainer import OptimizerSettings, descend, make_optimizer

LARGEST_DIFFERENCE = 1e-5  # of a loss in float32
EMBEDDING_DIM = 128  # of queries and items
Layout = Literal["packed", "unpacked"]


class PackingError(RadsearchError):
    """Two computations that should agree and do not."""


@dataclass(frozen=True)
class PackingSettings:
    """What is measured.

    Attributes:
        prompt_tokens: of every session.
        positives, negatives: candidates of every session.
        sessions: per step.
        rounds: steps that are timed.
        d_model, n_layers, codebooks, vocab_size: shape of the decoder.
        precision: of the timed steps; losses are compared in float32.
        seed: of weights and sessions.
    """

    prompt_tokens: int = 64
    positives: int = 4
    negatives: int = 3
    sessions: int = 32
    rounds: int = 5
    d_model: int = 256
    n_layers: int = 4
    codebooks: tuple[int, ...] = (1024, 1024, 1024)
    vocab_size: int = 4096
    precision: Precision = "fast"
    seed: int = 0


def score_packed(decoder: Decoder, sessions: Packed) -> Scores:
    """Score all candidates of a session in one sequence."""
    return score(decoder, sessions, with_ends=True)


def score_unpacked(decoder: Decoder, sessions: Packed) -> Scores:
    """Score every candidate in a sequence of its own, behind its own copy of the prompt."""
    B, C, _ = sessions.codes.shape
    prompts = {field.name: getattr(sessions.prompts, field.name) for field in fields(Prompts)}
    copies = Prompts(**{name: tensor.repeat_interleave(C, dim=0) for name, tensor in prompts.items()})
    scores = score(decoder, Packed(copies, sessions.codes.flatten(0, 1)[:, None]), with_ends=True)
    of_candidates: dict[str, Any] = {
        "distributions": tuple(distribution.view(B, C, -1) for distribution in scores.distributions),
        "log_probs": scores.log_probs.view(B, C, -1),
        "ends": None if scores.ends is None else scores.ends.view(B, C, -1),
    }
    of_prompts = {
        field.name: getattr(scores, field.name)[::C]  # every copy's is the same
        for field in fields(Scores)
        if field.name not in of_candidates
    }
    return Scores(**of_candidates, **of_prompts)


LAYOUTS: dict[Layout, Callable[[Decoder, Packed], Scores]] = {
    "packed": score_packed,
    "unpacked": score_unpacked,
}


class Contender:
    """A decoder in training by RAD-DPO, with its layout, attention and optimizer."""

    def __init__(self, decoder: Decoder, layout: Layout, attention: str, settings: PackingSettings) -> None:
        self.decoder = copy.deepcopy(decoder)
        use_attention(self.decoder, attention)
        self._score = LAYOUTS[layout]
        self._objective = RadDpo(RadDpoSettings()).to(decoder.norm.weight.device)
        # RDRW weighs only when its window is full, as it is for all but the first steps of a training.
        self._objective.similarities.uniform_(-1, 1, generator=_generator(self._objective.seen.device, 0))
        self._objective.seen.fill_(WINDOW)
        self._settings = settings
        self._optimizing = OptimizerSettings(steps=1_000, learning_rate=1e-4, precision=settings.precision)
        self._optimizer = make_optimizer(self.decoder, self._optimizing)

    def loss(self, sessions: Packed) -> Tensor:
        """RAD-DPO's loss on sessions that lack no candidate."""
        present = torch.ones_like(sessions.codes[..., 0], dtype=torch.bool)
        scores = self._score(self.decoder, sessions)
        candidates = Candidates(sessions.codes, present, self._settings.positives, scores)
        value: Tensor = self._objective(candidates).value
        return value

    def train(self, sessions: Packed) -> None:
        """Take one step."""
        with float32_products(self._settings.precision):
            with autocast(self._settings.precision, sessions.codes.device):
                loss = self.loss(sessions)
            descend(loss, self._optimizer, self._optimizing, step=0)


def measure(settings: PackingSettings, device: torch.device, report: Report) -> dict[str, Any]:
    """Compare losses, time steps in turns, and take each side's peak memory in a process of its own.

    Args:
        settings: sizes.
        device: where to compute.
        report: told what goes on.

    Raises:
        PackingError: if packed and unpacked losses differ by more than rounding.
    """
    report("Comparing losses")
    decoder, sessions = new_decoder(settings, device), make_sessions(settings, device)
    contenders: dict[tuple[Layout, str], Contender] = {}
    unavailable: dict[str, str] = {}
    losses: dict[tuple[Layout, str], float] = {}
    for attention in ATTENTIONS:
        for layout in LAYOUTS:
            contender = Contender(decoder, layout, attention, settings)
            try:
                with float32_products("full"), torch.no_grad():
                    loss = contender.loss(sessions).item()
                contender.train(sessions)
            except NotImplementedError as error:
                unavailable[attention] = str(error)
                break
            contenders[layout, attention], losses[layout, attention] = contender, loss
    difference = max(losses.values()) - min(losses.values())
    if difference > LARGEST_DIFFERENCE:
        raise PackingError(f"losses that should be equal differ by {difference:.1e}: {losses}")

    steps = {
        f"{layout} {name}": timed(partial(contender.train, sessions), device)
        for (layout, name), contender in contenders.items()
    }
    seconds = in_turns(steps, settings.rounds, report)
    speeds = {
        layout: {
            name: per_second(settings.sessions, seconds[f"{layout} {name}"])
            for kind, name in contenders
            if kind == layout
        }
        for layout in LAYOUTS
    }
    report("Measuring memory")
    memory = {layout: peak_memory_apart(settings, layout, device.type) for layout in LAYOUTS}
    return {
        "settings": asdict(settings),
        "throughput_ratio": speeds["packed"]["grouped"] / speeds["unpacked"]["grouped"],
        "memory_ratio": memory["packed"]["step_bytes"] / memory["unpacked"]["step_bytes"],
        "sessions_per_s": {layout: speeds[layout]["grouped"] for layout in LAYOUTS},
        "memory": memory,
        "loss": losses["packed", "grouped"],
        "loss_difference": difference,
        "attention": speeds["packed"],
        "attention_unpacked": speeds["unpacked"],
        "attention_unavailable": unavailable,
        "seconds": seconds,
    }


def peak_memory_apart(settings: PackingSettings, layout: Layout, device: str) -> dict[str, int]:
    """:func:`peak_memory` in a new process, which holds nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(peak_memory, settings, layout, device).result()


def peak_memory(settings: PackingSettings, layout: Layout, device: str) -> dict[str, int]:
    """Memory of one training step at its peak.

    Returns:
        "before_bytes" with weights, gradients and moments in place, and "step_bytes", by how much the step
        exceeds that: resident memory on a CPU, allocated memory on a GPU.
    """
    place = torch.device(device)
    contender = Contender(new_decoder(settings, place), layout, "grouped", settings)
    contender.train(make_sessions(replace(settings, sessions=1), place))  # makes gradients and moments
    sessions = make_sessions(settings, place)
    if place.type == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        contender.train(sessions)
        peak = torch.cuda.max_memory_allocated()
    else:
        before = restart_peak()
        contender.train(sessions)
        peak = peak_bytes()
    return {"before_bytes": before, "step_bytes": peak - before}


def new_decoder(settings: PackingSettings, device: torch.device) -> Decoder:
    """A decoder whose weights are large enough that it prefers some codes clearly."""
    torch.manual_seed(settings.seed)
    n_heads = max(settings.d_model // 32, 2)
    config = DecoderConfig(
        vocab_size=settings.vocab_size,
        codebook_sizes=settings.codebooks,
        embedding_dim=EMBEDDING_DIM,
        d_model=settings.d_model,
        n_layers=settings.n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads // 2,
        d_ff=3 * settings.d_model,
        max_prompt=settings.prompt_tokens,
    )
    decoder = Decoder(config).to(device)
    with torch.no_grad():
        for weight in decoder.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return decoder


def make_sessions(settings: PackingSettings, device: torch.device) -> Packed:
    """Sessions of random tokens and codes."""
    generator = _generator(torch.device("cpu"), settings.seed)
    B, T, C = settings.sessions, settings.prompt_tokens, settings.positives + settings.negatives
    tokens = torch.randint(EOS + 1, settings.vocab_size, (B, T), generator=generator)
    tokens[:, 0], tokens[:, -1] = BOS, SEP
    codes = [torch.randint(size, (B, C), generator=generator) for size in settings.codebooks]
    embeddings = torch.randn(B, EMBEDDING_DIM, generator=generator)
    prompts = Prompts(tokens, torch.ones(B, T, dtype=torch.bool), embeddings)
    return Packed(prompts.to(device), torch.stack(codes, dim=-1).to(device))


def packing(
    prompt_tokens: Annotated[int, typer.Option(min=2, help="Tokens of every prompt.")] = 64,
    positives: Annotated[int, typer.Option(min=1, help="Positives of every session.")] = 4,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives of every session.")] = 3,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions per step.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each side that are timed.")] = 5,
    d_model: Annotated[int, typer.Option(min=32, help="Width of the decoder.")] = 256,
    n_layers: Annotated[int, typer.Option(min=1, help="Its depth.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and sessions.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure label packing against a sequence per candidate, in full steps of RAD-DPO.

    Both sides run in turns with the same weights on the same sessions, and must have the same losses.

    Example: radsearch bench packing --out benchmarks/results/packing.json
    """
    settings = PackingSettings(
        prompt_tokens, positives, negatives, sessions, rounds, d_model, n_layers, seed=seed
    )
    with joined_world(device) as world, Console(stderr=True).status("") as status:
        result = record("packing", world.device, [seed], measure(settings, world.device, status.update))
    deliver(result, out, as_json, _print)


def _print(result: dict[str, Any], console: Console) -> None:
    table = Table(box=None, header_style="dim")
    for header in ("", "packed", "unpacked", "ratio"):
        table.add_column(header, justify="left" if not header else "right")
    for name, packed in result["attention"].items():
        unpacked = result["attention_unpacked"][name]
        row = f"sessions/s, {name} attention"
        table.add_row(row, f"{packed:,.1f}", f"{unpacked:,.1f}", f"{packed / unpacked:.2f}")
    step = {layout: memory["step_bytes"] / 2**20 for layout, memory in result["memory"].items()}
    ratio = f"{result['memory_ratio']:.2f}"
    table.add_row("peak memory of a step, MB", f"{step['packed']:,.0f}", f"{step['unpacked']:,.0f}", ratio)
    console.print(table)
    for name, reason in result["attention_unavailable"].items():
        console.print(f"{name} attention: {reason}", markup=False)
    console.print(f"losses differ by {result['loss_difference']:.1e} at most in float32")


def _generator(device: torch.device, seed: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)
