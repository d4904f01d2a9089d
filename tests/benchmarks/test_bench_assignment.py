"""``radsearch bench assignment``: every case is timed, and does what its name says."""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.assignment import CASES, TRAFFIC
from service.experiments import Caller, Experiments
from service.features import FeaturesFile
from service.metrics import Metrics
from tests.benchmarks.runner import bench


def test_every_case_is_timed(tmp_path: Path) -> None:
    out = tmp_path / "assignment.json"
    result = bench("assignment", "--callers", "100", "--json", "--out", str(out))
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert json.loads(out.read_text()) == made
    assert list(made["microseconds"]) == list(CASES)
    for figures in made["microseconds"].values():
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    shown = bench("assignment", "--callers", "100")
    assert all(name in shown.stdout for name in CASES)


@pytest.mark.parametrize(
    ("case", "n_experiments"),
    [("one experiment", {1}), ("ten experiments in a namespace", {1}), ("holdout and four layers", {1, 5})],
)
def test_cases_are_what_they_are_called(case: str, n_experiments: set[int], tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(json.dumps({name: {"rules": rules} for name, rules in CASES[case].items()}))

    async def taking_part() -> set[int]:
        experiments = Experiments(FeaturesFile(file), None, lambda: TRAFFIC, Metrics())
        await experiments.start()
        await experiments.close()
        assignments = [await experiments.assign(Caller(str(n), "")) for n in range(200)]
        return {len(assignment.experiments) for assignment in assignments}

    assert asyncio.run(taking_part()) == n_experiments
