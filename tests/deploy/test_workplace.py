"""The files that contributors and machines meet first."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement


def test_the_check_is_a_script_that_runs_make_test(root: Path) -> None:
    script = root / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-1] == "make test"
    # Where CI is set, what needs a browser fails without one instead of being skipped.
    assert any("missing+=(chromium)" in line for line in lines)
    assert any(line.startswith("export CI=true") for line in lines)
    assert re.search(r"^test:", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_hooks_are_local_and_run_what_the_project_installs(root: Path, project: dict[str, Any]) -> None:
    path = root / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", path], check=True)
    (repository,) = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    installed = {Requirement(text).name for text in project["project"]["optional-dependencies"]["dev"]}
    for hook in repository["hooks"]:
        program = Path(hook["entry"].split()[0])
        assert program.parent == Path(".venv/bin")
        assert program.name in installed


def test_the_licence_is_the_one_that_is_declared(root: Path, project: dict[str, Any]) -> None:
    assert project["project"]["license"] == "Apache-2.0"
    licence = (root / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"Apache License\s+Version 2\.0, January 2004", licence)
    assert "END OF TERMS AND CONDITIONS" in licence
