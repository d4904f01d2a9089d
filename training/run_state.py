"""An unfinished run on disk, so that it can go on where it was stopped.

It lies in ``<checkpoint>.unfinished/step-<n>`` beside the checkpoint to come. Each save is a new directory,
renamed when whole, and only then is the older one removed: whenever the process dies, one is complete.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.checkpoint import CheckpointError, read_json, write_json

TENSORS = "tensors.safetensors"
RUN = "run.json"
MODULE, OPTIMIZER = "module.", "optimizer."


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        step: steps done.
        seconds: spent on them.
        history: figures recorded so far.
        settings: of the run; a run goes on under the same ones only.
    """

    step: int
    seconds: float
    history: list[dict[str, float]]
    settings: dict[str, Any]


def unfinished(checkpoint: Path) -> Path:
    """Where the unfinished run of a checkpoint lies."""
    return checkpoint.with_name(f"{checkpoint.name}.unfinished")


def save_run(
    directory: Path, state: RunState, module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write where the run stands and remove what was written before."""
    tensors = {MODULE + name: tensor for name, tensor in module.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{index}.{name}": tensor for name, tensor in moments.items()}
    made = directory / f"step-{state.step:09d}"
    scratch = directory / ".new"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, scratch / TENSORS)
    write_json(scratch / RUN, vars(state))
    scratch.rename(made)
    for older in _saves(directory)[:-1]:
        shutil.rmtree(older)


def load_run(
    directory: Path, settings: dict[str, Any], module: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> RunState:
    """Put a module and its optimizer back to where the run stood.

    Raises:
        CheckpointError: if there is nothing to resume or the run had other settings.
    """
    saves = _saves(directory)
    if not saves:
        raise CheckpointError(f"{directory} has no run to resume; train without --resume")
    state = RunState(**read_json(saves[-1] / RUN))
    # Through JSON, as the stored ones went: tuples are lists there.
    now = json.loads(json.dumps(settings))
    changed = [name for name in now if now[name] != state.settings.get(name)]
    if changed:
        name = changed[0]
        raise CheckpointError(
            f"{directory} was trained with {name} = {state.settings.get(name)}, now it is {now[name]}; "
            "resume with the same settings, or train without --resume"
        )
    tensors = load_file(saves[-1] / TENSORS)
    module.load_state_dict(_under(MODULE, tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _under(OPTIMIZER, tensors).items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return state


def discard_run(directory: Path) -> None:
    """Remove an unfinished run, if there is one."""
    shutil.rmtree(directory, ignore_errors=True)


def _saves(directory: Path) -> list[Path]:
    """Complete saves, oldest first."""
    return sorted(directory.glob("step-*"))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
