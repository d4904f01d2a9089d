"""The checkpoint directory: a trained decoder with everything needed to run, order, judge and continue it.

It holds ``config.json`` (shape of the decoder, objective, settings, parent), ``model.safetensors``,
``tokenizer.json``, ``ordering.json`` and ``training.json``; ``radsearch evaluate`` adds ``metrics.json``.
Nothing in it is a pickle.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from sid import OrderingWeights, RadsearchError
from training.data.atomic import written_whole
from training.model import Decoder, DecoderConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
ORDERING = "ordering.json"
TRAINING = "training.json"


class CheckpointError(RadsearchError):
    """A checkpoint that is missing, truncated, or of another shape."""


@dataclass(frozen=True)
class Provenance:
    """How a checkpoint came to be.

    Attributes:
        objective: name in the registry of objectives.
        settings: the training settings, plain JSON.
        parent: directory of the checkpoint it started from, None when trained from scratch.
        figures: what the run measured: steps, seconds, losses, peak memory (``training.json``).
    """

    objective: str
    settings: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    path: Path, decoder: Decoder, tokenizer: Tokenizer, ordering: OrderingWeights, provenance: Provenance
) -> None:
    """Write a checkpoint; an older one at ``path`` is replaced when the new one is whole."""
    config = {
        "decoder": decoder.config.to_dict(),
        "objective": provenance.objective,
        "settings": provenance.settings,
        "parent": provenance.parent,
    }
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    with written_whole(path, CONFIG) as directory:
        save_file(weights, directory / WEIGHTS)
        tokenizer.save(os.fspath(directory / TOKENIZER))
        write_json(directory / CONFIG, config)
        write_json(directory / ORDERING, ordering.to_dict())
        write_json(directory / TRAINING, provenance.figures)


def load_decoder(path: Path) -> Decoder:
    """Read a checkpoint's decoder, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: if the checkpoint is missing, truncated, or its weights do not fit its configuration.
    """
    raw = read_json(path / CONFIG)
    try:
        config = DecoderConfig.from_dict(raw["decoder"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path / CONFIG} does not describe a decoder ({error}); train again"
        ) from error
    # Drawn and replaced at once. The meta device would draw none, but import torch's compiler: a second.
    with torch.random.fork_rng(devices=[]):
        decoder = Decoder(config)
    try:
        decoder.load_state_dict(load_file(path / WEIGHTS), assign=True)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path / WEIGHTS} not found; train again or copy the whole checkpoint"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path / WEIGHTS} is damaged or does not fit {CONFIG} ({reason})") from error
    return decoder.eval()


def load_ordering(path: Path) -> OrderingWeights:
    """Read how a checkpoint orders items inside the SIDs it finds.

    Raises:
        CheckpointError: if the file is missing or is not such a file.
    """
    raw = read_json(path / ORDERING)
    try:
        return OrderingWeights(**raw)
    except TypeError as error:
        raise CheckpointError(
            f"{path / ORDERING} does not hold the weights of the ordering ({error})"
        ) from error


def load_provenance(path: Path) -> Provenance:
    """Read how a checkpoint came to be.

    Raises:
        CheckpointError: if the checkpoint is missing or incomplete.
    """
    config = read_json(path / CONFIG)
    try:
        return Provenance(
            config["objective"], config["settings"], config["parent"], read_json(path / TRAINING)
        )
    except KeyError as error:
        raise CheckpointError(f"{path / CONFIG} lacks {error}; train again") from error


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON object, readable."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object of a checkpoint.

    Raises:
        CheckpointError: if the file is missing or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} not found; make a checkpoint with 'radsearch train'") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); train again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds {type(value).__name__}, expected a JSON object; train again")
    return value
