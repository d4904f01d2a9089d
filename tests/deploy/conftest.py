import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from radsearch.cli import build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile in order, each with its argument on one line."""
    text = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")
    ]


@pytest.fixture(scope="session")
def image(dockerfile: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Instruction to its arguments, for the last stage: the service's image."""
    start = max(n for n, (word, _) in enumerate(dockerfile) if word == "FROM")
    image: dict[str, list[str]] = {}
    for word, rest in dockerfile[start:]:
        image.setdefault(word, []).append(rest)
    return image


@pytest.fixture(scope="session")
def image_environment(image: dict[str, list[str]]) -> dict[str, str]:
    """Variables that the service's image sets."""
    pairs = (pair.partition("=") for line in image["ENV"] for pair in line.split())
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="session")
def dashboard() -> dict[str, Any]:
    path = ROOT / "deploy" / "grafana" / "dashboards" / "radsearch.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def options_of() -> Callable[[str], set[str]]:
    """Give the options that ``radsearch NAME`` takes, of a group those of all its commands."""

    def options(name: str) -> set[str]:
        command = get_command(build([name])).commands[name]
        commands = [command, *getattr(command, "commands", {}).values()]
        return {option for each in commands for parameter in each.params for option in parameter.opts}

    return options
