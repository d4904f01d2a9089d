"""The command line over all rooms.

A room is imported when one of its commands is named, not before: ``radsearch serve`` runs where torch is
not installed, and ``radsearch --help`` answers at once. So is each benchmark.
"""

import importlib
import os
import sys
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Group:
    """Commands under one name, each imported by itself.

    Attributes:
        commands: by name.
        summary: the group's line in the list of commands.
        example: of one of them.
    """

    commands: Mapping[str, Command]
    summary: str
    example: str


def _benchmark(module: str, summary: str) -> Command:
    return Command(f"benchmarks.{module}", "train,bench", summary)


BENCHMARKS = {
    "assignment": _benchmark("assignment", "Assign callers by features of growing size; time each."),
    "bm25": _benchmark("bm25", "Measure baselines by the metrics of 'radsearch evaluate'."),
    "decode": _benchmark("decode.command", "Time the search in the graph; judge it by brute force."),
    "experiments": _benchmark("experiments", "Hold experiments against the truth of a simulation."),
    "live": _benchmark("live", "Change catalogues in a running service; judge every answer."),
    "objectives": _benchmark("objectives.command", "Compare all objectives from one start, in equal steps."),
    "packing": _benchmark("packing", "Time label packing against a sequence per candidate."),
    "quality": _benchmark("quality", "Compare answers with BM25, dense retrieval and their fusion."),
    "scale": _benchmark("scale", "Build and serve a catalogue of any size; time and memory by step."),
    "service": _benchmark("serving.command", "Measure what the service adds to its engine; overload it."),
    "sids": _benchmark("sids", "Compare ways to give SIDs by the decoders trained on them."),
    "sizing": _benchmark("sizing", "Work out machines, memory, Redis and network."),
    "training-speed": _benchmark("training_speed", "Time our training beside TRL's DPO."),
}

COMMANDS: dict[str, Command | Group] = {
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
    "bench": Group(
        BENCHMARKS,
        "Measure baselines and speed side by side.",
        "radsearch bench bm25 --data data --split test",
    ),
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
        if isinstance(command, Group):
            app.add_typer(_group_of(command, name, argv[1:] if argv[:1] == [name] else []), name=name)
        else:
            _add(app, command, name, name, argv)
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


def _group_of(group: Group, name: str, argv: list[str]) -> typer.Typer:
    app = typer.Typer(help=group.summary, epilog=f"Example: {group.example}", no_args_is_help=True)
    for command_name, command in group.commands.items():
        _add(app, command, command_name, f"{name} {command_name}", argv)
    return app


def _add(app: typer.Typer, command: Command, name: str, full_name: str, argv: list[str]) -> None:
    """Give ``app`` a command, imported if ``argv`` begins with its name."""
    if argv[:1] != [name]:
        app.command(name, help=command.summary)(_not_named)
        return
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        raise RadsearchError(
            f"'radsearch {full_name}' needs the package {error.name!r}; "
            f"install it with: pip install 'radsearch[{command.extra}]'"
        ) from error
    loaded: Any = getattr(module, name.replace("-", "_"))
    if isinstance(loaded, typer.Typer):
        app.add_typer(loaded, name=name)
    else:
        app.command(name)(loaded)


def _group() -> None:
    """Hold the options of the whole program, of which there are none."""


def _not_named() -> None:
    """Stand for a command that this call did not name: it is listed and never run."""
