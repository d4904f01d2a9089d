"""The command line lists every room's commands and imports only the one that is named."""

import subprocess
import sys
from collections.abc import Collection

import pytest
from typer.testing import CliRunner

from radsearch.cli import BENCHMARKS, COMMANDS, build


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(("group", "commands"), [("", COMMANDS), ("bench", BENCHMARKS)])
def test_help_lists_every_command_and_imports_no_room(group: str, commands: Collection[str]) -> None:
    code = (
        f"import sys; sys.argv = 'radsearch {group} --help'.split()\n"
        "from radsearch.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "rooms = {'torch', 'training', 'service', 'model_export', 'loadtest', 'benchmarks'}\n"
        "assert not rooms & set(sys.modules), rooms & set(sys.modules)\n"
    )
    listed = run("-c", code)
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    shown = run("-m", "radsearch", name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"radsearch {name}" in shown.stdout.split("Options")[0]
    assert "Example" in shown.stdout


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_help(name: str) -> None:
    shown = CliRunner().invoke(build(argv := ["bench", name, "--help"]), argv)
    assert shown.exit_code == 0, shown.output
    assert f"bench {name} [OPTIONS]" in shown.output


def test_an_unknown_command_is_an_error() -> None:
    for argv in (["sing"], ["bench", "sing"]):
        failed = run("-m", "radsearch", *argv)
        assert failed.returncode == 2
        assert "sing" in failed.stderr


def test_a_users_mistake_is_one_line_and_exit_code_1() -> None:
    failed = run("-m", "radsearch", "prepare", "--items", "missing.jsonl", "--out", "nowhere")
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert "missing.jsonl" in failed.stderr


@pytest.mark.parametrize(("command", "extra"), [("train", "train"), ("bench packing", "train,bench")])
def test_a_missing_package_says_what_to_install(command: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules['torch'] = None; sys.argv = 'radsearch {command} --help'.split()\n"
        "from radsearch.cli import main\n"
        "main()\n"
    )
    failed = run("-c", code)
    assert failed.returncode == 1
    assert f"'radsearch {command}' needs the package 'torch'" in failed.stderr
    assert f"pip install 'radsearch[{extra}]'" in failed.stderr
