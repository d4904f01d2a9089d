"""docs/operations.md says what is so."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from loadtest.settings import LoadtestSettings
from radsearch.cli import COMMANDS
from service.metrics import Metrics
from service.settings import ServiceSettings


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_the_registry(page: str) -> None:
    rows = re.findall(r"^\| `(radsearch_\w+)` \| (\w+) \| ([\w, ]*)\|", page, re.MULTILINE)
    listed = {name: (kind, labels.strip()) for name, kind, labels in rows}
    exposed = {}
    for metric in vars(Metrics()).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exposed[name] = (family.type, ", ".join(metric._labelnames))
    assert listed == exposed


def test_variables_are_read_by_something(page: str, root: Path) -> None:
    service = {f"RADSEARCH_{name.upper()}" for name in ServiceSettings.model_fields}
    loadtest = set(LoadtestSettings().environment())
    named = set(re.findall(r"\bRADSEARCH_[A-Z_]*[A-Z]\b", page)) - {"RADSEARCH_LOADTEST"}
    assert named <= service | loadtest
    in_compose = set(re.findall(r"\$\{(\w+):-", (root / "docker-compose.yml").read_text(encoding="utf-8")))
    in_table = set(re.findall(r"^\|.*\| `([A-Z_]+)` \|$", page, re.MULTILINE))
    assert in_table == in_compose


def test_commands_and_options_exist(page: str, options_of: Callable[[str], set[str]]) -> None:
    lines = re.findall(r"^\$ (radsearch .*)$", page, re.MULTILINE)
    assert lines
    for _, name, *rest in map(shlex.split, lines):
        assert name in COMMANDS
        assert {word for word in rest if word.startswith("--")} <= options_of(name)


def test_places_are_those_of_compose(page: str, compose: dict[str, Any]) -> None:
    published = {
        (match["variable"], int(match["port"]))
        for service in compose["services"].values()
        for port in service.get("ports", [])
        if (match := re.search(r"\$\{(?P<variable>\w+):-(?P<port>\d+)\}", port))
    }
    named = re.findall(r"^\|.*http://127\.0\.0\.1:(\d+) \| `(\w+)` \|$", page, re.MULTILINE)
    assert {(variable, int(port)) for port, variable in named} == published
