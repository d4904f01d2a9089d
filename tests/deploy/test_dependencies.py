"""What pip installs for an extra is enough for the rooms that the extra is for, and no more than it may."""

import ast
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOMS = {
    "experiments": ("experiments",),
    "reports": (),
    "sid": (),
    "service": ("cpu",),
    "loadtest": ("loadtest",),
    "training": ("train",),
    "model_export": ("train", "cpu"),
    "benchmarks": ("train", "cpu", "dev"),
    "radsearch": ("client",),
}
"""Room to the extras that it is installed with."""

LEARNING = {"torch", "sentence-transformers", "transformers", "faiss-cpu", "scikit-learn"}


def installed_with(project: dict[str, Any], extras: tuple[str, ...]) -> set[str]:
    """Distributions that ``pip install radsearch[extras]`` brings, followed to the end."""
    optional = project["optional-dependencies"]
    waiting = [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
    seen: set[str] = set()
    while waiting:
        text = waiting.pop()
        if text in seen:
            continue
        seen.add(text)
        requirement = Requirement(text)
        if requirement.name == project["name"]:
            waiting += [text for extra in requirement.extras for text in optional[extra]]
        else:
            waiting += needed_by(requirement)
    return {canonicalize_name(Requirement(text).name) for text in seen}


def needed_by(requirement: Requirement) -> list[str]:
    """Requirements of a requirement, here and with its extras; none of what is not installed."""
    try:
        texts = requires(requirement.name) or []
    except PackageNotFoundError:
        return []
    environments = [{"extra": extra} for extra in ("", *requirement.extras)]
    markers = ((text, Requirement(text).marker) for text in texts)
    return [
        text
        for text, marker in markers
        if marker is None or any(marker.evaluate(environment) for environment in environments)
    ]


def imported_by(room: Path) -> set[str]:
    """Top-level packages that a room's files name in absolute imports."""
    names = set()
    for path in room.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_imports_is_installed_with_it(root: Path, project: dict[str, Any], room: str) -> None:
    installed = installed_with(project["project"], ROOMS[room])
    distributions = packages_distributions()
    missing = {
        name
        for name in imported_by(root / room) - {*sys.stdlib_module_names, *ROOMS}
        if not installed & {canonicalize_name(each) for each in distributions.get(name, [])}
    }
    assert missing == set()


@pytest.mark.parametrize("extra", ["cpu", "gpu", "loadtest"])
def test_images_cannot_learn(project: dict[str, Any], extra: str) -> None:
    assert not installed_with(project["project"], (extra,)) & LEARNING
