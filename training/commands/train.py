"""``radsearch train``."""

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from training.distributed import joined_world
from training.settings import parse_assignments, read_settings
from training.train import TrainRequest
from training.train import train as train_decoder


def train(
    data: Annotated[Path, typer.Option(help="Data directory, with SIDs.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write; an older one is replaced.")],
    objective: Annotated[
        str, typer.Option(help="sft, rad-dpo, dpo, simpo, orpo, s-dpo, cal-dpo, beta-dpo or tdpo.")
    ] = "sft",
    parent: Annotated[Path | None, typer.Option("--from", help="Checkpoint to start from.")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Qwen3 model to take weights from.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as in objective.beta=3.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps in total.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Or passes over the examples.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per step, over all processes.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak.")] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of a decoder from scratch.")] = None,
    n_layers: Annotated[int | None, typer.Option(help="Its depth.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and draws.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Train a decoder: first sft, from scratch; then rad-dpo, from the checkpoint that sft made.

    Settings come from the flags, from RADSEARCH_TRAIN_… in the environment, and from --config, in this order.
    On several GPUs: torchrun --nproc-per-node 8 -m radsearch train …

    Example: radsearch train --data data --objective rad-dpo --from sft --out rad-dpo
    """
    flags = parse_assignments(assignments or [])
    named = {
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
    }
    flags |= {name: value for name, value in named.items() if value is not None}
    shape = {"d_model": d_model, "n_layers": n_layers}
    flags["model"] = flags.get("model", {}) | {name: size for name, size in shape.items() if size is not None}
    settings = read_settings(config, flags)
    request = TrainRequest(data, out, objective, parent, init_from, resume)
    console = Console(stderr=True, highlight=False)
    with joined_world(settings.device) as world:
        figures = train_decoder(request, settings, world, console)
        leads = world.leads
    if leads and as_json:
        typer.echo(orjson.dumps(figures))
    elif leads:
        _print(figures, out, Console(highlight=False))


def _print(figures: dict[str, Any], out: Path, console: Console) -> None:
    final = ", ".join(f"{name} {value:.4f}" for name, value in figures["final"].items() if name != "step")
    console.print(f"[bold]{figures['steps']:,} steps[/bold]  {final}")
    console.print(
        f"{figures['seconds']:.1f} s on {figures['device']}, {figures['examples_per_s']:,.0f} examples/s, "
        f"{figures['peak_memory_mb']['main']:,} MB, {figures['parameters']:,} parameters"
    )
    weights = " + ".join(f"{weight:g} {name}" for name, weight in figures["ordering"].items())
    console.print(f"items ordered by log p(SID) + {weights}")
    console.print(f"→ {out}", markup=False)
