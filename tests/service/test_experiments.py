import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import ServiceError
from service.experiments import Assignment, Caller, Experiments

pytestmark = pytest.mark.anyio

VARIANTS = ["sft", "rad-dpo"]
HALVES = {"key": "ab", "variations": ["sft", "rad-dpo"], "weights": [0.5, 0.5], "coverage": 1.0}


def features(path: Path, *rules: dict[str, Any], default: Any = "sft") -> Path:
    file = path / "features.json"
    file.write_text(json.dumps({"features": {"variant": {"defaultValue": default, "rules": rules}}}))
    return file


async def assigned(experiments: Experiments, user_id: str | None, anonymous_id: str = "a") -> Assignment:
    return await experiments.assign(Caller(user_id, anonymous_id))


async def test_without_a_file_everybody_gets_the_first_variant() -> None:
    experiments = await Experiments.load(None, VARIANTS)
    assert await assigned(experiments, "ada") == Assignment("sft", None, None)


async def test_half_of_the_users_get_each_variant_and_keep_it(tmp_path: Path) -> None:
    file = features(tmp_path, HALVES)
    first, second = await Experiments.load(file, VARIANTS), await Experiments.load(file, VARIANTS)
    users = [f"user-{n}" for n in range(2000)]
    variants = [(await assigned(first, user)).variant for user in users]
    assert 900 < variants.count("sft") < 1100
    assert variants == [(await assigned(second, user, "another browser")).variant for user in users]


async def test_an_unknown_user_is_known_by_the_browser(tmp_path: Path) -> None:
    experiments = await Experiments.load(features(tmp_path, HALVES), VARIANTS)
    browsers = [f"browser-{n}" for n in range(100)]
    variants = [(await assigned(experiments, None, browser)).variant for browser in browsers]
    assert set(variants) == set(VARIANTS)
    assert variants == [(await assigned(experiments, None, browser)).variant for browser in browsers]


async def test_an_assignment_says_what_decided(tmp_path: Path) -> None:
    experiments = await Experiments.load(features(tmp_path, HALVES), VARIANTS)
    assignment = await assigned(experiments, "ada")
    assert assignment.experiment == "ab"
    assert assignment.variation == VARIANTS.index(assignment.variant)


async def test_a_variant_can_be_forced(tmp_path: Path) -> None:
    rule = {"condition": {"user_id": "tester"}, "force": "rad-dpo"}
    experiments = await Experiments.load(features(tmp_path, rule), VARIANTS)
    assert await assigned(experiments, "tester") == Assignment("rad-dpo", None, None)
    assert await assigned(experiments, "ada") == Assignment("sft", None, None)


async def test_null_is_the_first_variant(tmp_path: Path) -> None:
    experiments = await Experiments.load(features(tmp_path, default=None), VARIANTS)
    assert (await assigned(experiments, "ada")).variant == "sft"


async def test_the_features_may_stand_alone(tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(json.dumps({"variant": {"defaultValue": "rad-dpo"}}))
    experiments = await Experiments.load(file, VARIANTS)
    assert (await assigned(experiments, "ada")).variant == "rad-dpo"


@pytest.mark.parametrize(
    ("rules", "default"),
    [
        ([], "gone"),
        ([{"force": "gone"}], "sft"),
        ([HALVES | {"variations": ["sft", "gone"]}], "sft"),
        ([HALVES, {"force": 5}], "sft"),
    ],
)
async def test_a_variant_that_is_not_loaded(rules: list[Any], default: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"variant ('gone'|5) is not loaded \(sft, rad-dpo\)"):
        await Experiments.load(features(tmp_path, *rules, default=default), VARIANTS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "no feature 'variant'"),
        ("{}", "no feature 'variant'"),
        ('{"features": []}', "no feature 'variant'"),
        ('{"variant": 5}', "no GrowthBook features"),
        ('{"variant": {"rules": 5}}', "no GrowthBook features"),
        ('{"variant": {"rules": ["x"]}}', "no GrowthBook features"),
    ],
)
async def test_a_file_that_cannot_be_used(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(text)
    with pytest.raises(ServiceError, match=complaint):
        await Experiments.load(file, VARIANTS)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not found"):
        await Experiments.load(tmp_path / "features.json", VARIANTS)
