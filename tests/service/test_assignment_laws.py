"""Laws of the assignment: the same everywhere, in the shares that are asked for, independent by layer."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from service.experiments import Assignment, Caller, Experiments
from service.features import FeaturesFile
from service.metrics import Metrics
from service.traffic import Traffic

pytestmark = pytest.mark.anyio

N_FAST = 100_000


def experiment(key: str, variations: list[Any], **fields: Any) -> dict[str, Any]:
    return {"key": key, "seed": key, "hashVersion": 2, "variations": variations, **fields}


AB = experiment("ab", ["sft", "rad-dpo"], weights=[0.5, 0.5])
WIDTHS = experiment("widths", [16, 32, 64])
TAUS = experiment("taus", [{"tau": 0.0}, {"tau": 1.0}], weights=[0.3, 0.7])


async def follow(path: Path, **rules: list[dict[str, Any]]) -> Experiments:
    """Experiments over a features file that is read once."""
    file = path / "features.json"
    file.write_text(json.dumps({name: {"rules": each} for name, each in rules.items()}))
    experiments = Experiments(FeaturesFile(file), None, lambda: Traffic(("sft", "rad-dpo"), {}), Metrics())
    await experiments.start()
    await experiments.close()
    return experiments


async def draw(experiments: Experiments, n: int) -> list[Assignment]:
    return [await experiments.assign(Caller(f"user-{number}", "a")) for number in range(n)]


def variations(assignments: list[Assignment], key: str) -> list[int | None]:
    """Index of each caller's variation; None for those who do not take part."""
    return [each.experiments.get(key) for each in assignments]


def assert_shares(drawn: Sequence[Hashable], shares: Mapping[Any, float]) -> None:
    """All shares within three standard deviations."""
    counts, n = Counter(drawn), len(drawn)
    assert set(counts) <= set(shares)
    for index, share in shares.items():
        assert abs(counts[index] - n * share) <= 3 * (n * share * (1 - share)) ** 0.5


async def test_shares_of_many(tmp_path: Path) -> None:
    rule = experiment("ab", ["sft", "rad-dpo", "sft"], weights=[0.5, 0.3, 0.2], coverage=0.4)
    drawn = variations(await draw(await follow(tmp_path, variant=[rule]), N_FAST), "ab")
    assert_shares(drawn, {0: 0.2, 1: 0.12, 2: 0.08, None: 0.6})


@pytest.mark.slow
@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.9, 0.1], [0.99, 0.01]])
async def test_shares_of_a_million(weights: list[float], tmp_path: Path) -> None:
    rule = AB | {"weights": weights}
    drawn = variations(await draw(await follow(tmp_path, variant=[rule]), 1_000_000), "ab")
    assert_shares(drawn, dict(enumerate(weights)))


PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from tests.service.test_assignment_laws import draw, follow

async def main():
    assignments = await draw(await follow(Path(sys.argv[1]), **json.loads(sys.argv[2])), 300)
    print(json.dumps([[each.variant, each.experiments] for each in assignments]))

asyncio.run(main())
"""


async def test_another_process_assigns_the_same(tmp_path: Path) -> None:
    rules = {"variant": [AB | {"coverage": 0.8}], "beam_width": [WIDTHS]}
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, json.dumps(rules)],
        cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    mine = await draw(await follow(tmp_path, **rules), 300)
    assert json.loads(other.stdout) == [[each.variant, each.experiments] for each in mine]
    assert len({each.variant for each in mine}) == 2


async def test_coverage_moves_nobody_between_variants(tmp_path: Path) -> None:
    steps = []
    for coverage in (0.05, 0.2, 0.5, 0.9, 1.0):
        experiments = await follow(tmp_path, variant=[AB | {"coverage": coverage}])
        steps.append(variations(await draw(experiments, 2_000), "ab"))
    for before, after in pairwise(steps):
        assert all(old in (None, new) for old, new in zip(before, after, strict=True))
        assert after.count(None) < before.count(None)


async def test_layers_are_independent(tmp_path: Path) -> None:
    rules = {"variant": [AB], "beam_width": [WIDTHS], "ordering": [TAUS]}
    assignments = await draw(await follow(tmp_path, **rules), 12_000)
    table = np.zeros((2, 3, 2), dtype=int)
    for each in assignments:
        table[each.experiments["ab"], each.experiments["widths"], each.experiments["taus"]] += 1
    expected = np.einsum("i,j,k->ijk", [0.5, 0.5], [1 / 3] * 3, [0.3, 0.7]) * len(assignments)
    assert chisquare(table.ravel(), expected.ravel()).pvalue > 0.001
    for layer in range(3):
        assert chi2_contingency(table.sum(axis=layer)).pvalue > 0.001


async def test_a_layer_is_none_of_another_s_business(tmp_path: Path) -> None:
    alone = await draw(await follow(tmp_path, variant=[AB]), 2_000)
    together = await draw(await follow(tmp_path, variant=[AB], beam_width=[WIDTHS]), 2_000)
    assert [each.variant for each in alone] == [each.variant for each in together]


def by_namespace(start: float, end: float) -> dict[str, Any]:
    return {"namespace": ["all", start, end]}


def by_filter(start: float, end: float) -> dict[str, Any]:
    return {"filters": [{"seed": "all", "hashVersion": 2, "ranges": [[start, end]]}]}


@pytest.mark.parametrize("part", [by_namespace, by_filter])
async def test_experiments_in_one_namespace_share_nobody(
    part: Callable[[float, float], dict[str, Any]], tmp_path: Path
) -> None:
    experiments = await follow(tmp_path, variant=[AB | part(0.0, 0.5)], beam_width=[WIDTHS | part(0.5, 0.8)])
    assignments = await draw(experiments, 8_000)
    taking_part = ["+".join(each.experiments) for each in assignments]
    assert_shares(taking_part, {"ab": 0.5, "widths": 0.3, "": 0.2})


ids = st.text(min_size=1, max_size=40)


@settings(max_examples=30)
@given(ids, ids, ids)
def test_who_is_known_is_the_same_in_every_browser(user: str, browser: str, other: str) -> None:
    async def assign(*callers: Caller) -> list[Assignment]:
        with TemporaryDirectory() as directory:
            experiments = await follow(Path(directory), variant=[AB], beam_width=[WIDTHS])
        return [await experiments.assign(caller) for caller in callers]

    callers = Caller(user, browser), Caller(user, other, {"device": "phone"}), Caller(None, user)
    known, elsewhere, by_cookie = asyncio.run(assign(*callers))
    assert known == elsewhere == by_cookie
