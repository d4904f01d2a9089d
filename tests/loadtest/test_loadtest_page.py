"""docs/loadtest.md says what is so."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from loadtest.answers import Operation
from loadtest.settings import LoadtestSettings
from loadtest.slo import load_slo
from radsearch.cli import build


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "loadtest.md").read_text(encoding="utf-8")


def test_the_example_slo_is_one_and_shows_every_key(page: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "slo.toml").write_text(example)
    slo = load_slo(tmp_path / "slo.toml")
    assert None not in slo.model_dump().values()
    assert None not in slo.search.model_dump().values()
    assert all(limits.shares() for limits in slo.latencies().values())
    assert len(slo.latencies()) == len(Operation)


def test_commands_and_options_exist(page: str) -> None:
    lines = re.findall(r"^\$ radsearch loadtest (.*)$", page, re.MULTILINE)
    assert lines
    command = get_command(build(["loadtest"])).commands["loadtest"]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    for line in lines:
        assert {word for word in shlex.split(line) if word.startswith("--")} <= options


def test_variables_are_read(page: str) -> None:
    named = set(re.findall(r"\bRADSEARCH_LOADTEST_[A-Z_]*[A-Z]\b", page))
    assert named
    assert named <= set(LoadtestSettings().environment())
