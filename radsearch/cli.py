"""The command line over all rooms.

A room is imported when one of its commands is named, not before: ``radsearch serve`` runs where torch is
not installed, and ``radsearch --help`` answers at once.
"""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from sid.errors import RadsearchError


@dataclass(frozen=True)
class Command:
    """Where a command's function or group lives, the extra it needs, its line in the list of commands."""

    module: str
    extra: str
    summary: str


COMMANDS = {
    "shop": Command("training.commands.shop", "train", "Write a synthetic shop with known relevance."),
    "prepare": Command(
        "training.commands.prepare", "train", "Check items and sessions; train the tokenizer."
    ),
    "sids": Command("training.commands.sids", "train", "Give every item a Semantic ID."),
    "train": Command("training.commands.train", "train", "Train a decoder: SFT, then RAD-DPO."),
    "evaluate": Command("training.commands.evaluate", "train", "Measure a checkpoint on held-out queries."),
    "export": Command("model_export.commands", "train,cpu", "Prove a checkpoint's graph and write a bundle."),
    "serve": Command("service.commands", "cpu", "Answer queries over HTTP."),
    "sessions": Command("training.commands.sessions", "train", "Turn an event log into training sessions."),
    "key": Command("service.key_commands", "cpu", "Make and revoke the bearer keys of a service."),
    "experiment": Command(
        "experiments.commands", "experiments", "Judge an experiment by the event log; simulate shoppers."
    ),
    "loadtest": Command("loadtest.commands", "loadtest", "Load a server and judge its latencies."),
    "bench": Command("benchmarks.commands", "train,bench", "Measure baselines and speed side by side."),
    "demo": Command("radsearch.demo", "train,cpu", "From nothing to a served answer, on a synthetic shop."),
}


def build(argv: list[str]) -> typer.Typer:
    """Assemble the application that answers ``argv`` (without the program's name)."""
    app = typer.Typer(
        help="Online generative retrieval for e-commerce search.",
        epilog="Start with: radsearch demo",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_group)
    for name, command in COMMANDS.items():
        loaded = _load(name) if argv[:1] == [name] else None
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=name)
        else:
            app.command(name, help=None if loaded else command.summary)(loaded or _not_named)
    return app


def main() -> None:
    """Run the command line; a user's mistake becomes one line on stderr and exit code 1."""
    # onnxruntime reports its use to its maker unless told not to before it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        build(sys.argv[1:])()
    except RadsearchError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)


def _load(name: str) -> typer.Typer | Callable[..., None]:
    command = COMMANDS[name]
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        raise RadsearchError(
            f"'radsearch {name}' needs the package {error.name!r}; "
            f"install it with: pip install 'radsearch[{command.extra}]'"
        ) from error
    loaded: Any = getattr(module, name)
    if isinstance(loaded, typer.Typer):
        return loaded
    function: Callable[..., None] = loaded
    return function


def _group() -> None:
    """Hold the options of the whole program, of which there are none."""


def _not_named() -> None:
    """Stand for a command that this call did not name: it is listed and never run."""
