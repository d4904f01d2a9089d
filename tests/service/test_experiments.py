import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.errors import ServiceError
from service.experiments import Assignment, Caller, Experiments
from service.metrics import Metrics
from service.traffic import Traffic

pytestmark = pytest.mark.anyio

VARIANTS = ["sft", "rad-dpo"]
HALVES = {"key": "ab", "variations": ["sft", "rad-dpo"], "weights": [0.5, 0.5], "coverage": 1.0}


def features(path: Path, *rules: dict[str, Any], default: Any = "sft") -> Path:
    file = path / "features.json"
    file.write_text(json.dumps({"features": {"variant": {"defaultValue": default, "rules": rules}}}))
    return file


async def load(
    path: Path | None, variants: Sequence[str] = VARIANTS, shares: dict[str, float] | None = None
) -> Experiments:
    traffic = Traffic(tuple(variants), shares or {})
    return await Experiments.load(path, lambda: traffic, Metrics())


async def assigned(experiments: Experiments, user_id: str | None, anonymous_id: str = "a") -> Assignment:
    return await experiments.assign(Caller(user_id, anonymous_id))


async def test_without_a_file_everybody_gets_the_first_variant() -> None:
    experiments = await load(None)
    assert await assigned(experiments, "ada") == Assignment("sft", None, None)


async def test_half_of_the_users_get_each_variant_and_keep_it(tmp_path: Path) -> None:
    file = features(tmp_path, HALVES)
    first, second = await load(file), await load(file)
    users = [f"user-{n}" for n in range(2000)]
    variants = [(await assigned(first, user)).variant for user in users]
    assert 900 < variants.count("sft") < 1100
    assert variants == [(await assigned(second, user, "another browser")).variant for user in users]


async def test_an_unknown_user_is_known_by_the_browser(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, HALVES))
    browsers = [f"browser-{n}" for n in range(100)]
    variants = [(await assigned(experiments, None, browser)).variant for browser in browsers]
    assert set(variants) == set(VARIANTS)
    assert variants == [(await assigned(experiments, None, browser)).variant for browser in browsers]


async def test_an_assignment_says_what_decided(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, HALVES))
    assignment = await assigned(experiments, "ada")
    assert assignment.experiment == "ab"
    assert assignment.variation == VARIANTS.index(assignment.variant)


async def test_a_variant_can_be_forced(tmp_path: Path) -> None:
    rule = {"condition": {"user_id": "tester"}, "force": "rad-dpo"}
    experiments = await load(features(tmp_path, rule))
    assert await assigned(experiments, "tester") == Assignment("rad-dpo", None, None)
    assert await assigned(experiments, "ada") == Assignment("sft", None, None)


async def test_null_is_the_first_variant(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, default=None))
    assert (await assigned(experiments, "ada")).variant == "sft"


async def test_the_features_may_stand_alone(tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(json.dumps({"variant": {"defaultValue": "rad-dpo"}}))
    experiments = await load(file)
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
    experiments = await load(features(tmp_path, *rules, default=default))
    with pytest.raises(ServiceError, match=r"variant ('gone'|5) is not loaded \(sft, rad-dpo\)"):
        experiments.check()


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
        await load(file)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not found"):
        await load(tmp_path / "features.json")


async def test_shares_decide_where_no_rule_does(tmp_path: Path) -> None:
    users = [f"user-{n}" for n in range(2_000)]

    async def variants(**shares: float) -> list[str]:
        rule = {"condition": {"user_id": "tester"}, "force": "rad-dpo"}
        experiments = await load(features(tmp_path, rule), ["sft", "rad-dpo", "new"], shares)
        assert (await assigned(experiments, "tester")).variant == "rad-dpo"
        return [(await assigned(experiments, user, "another browser")).variant for user in users]

    assert set(await variants()) == {"sft"}
    assert set(await variants(new=1.0)) == {"new"}
    few, more = await variants(new=0.1, sft=0.9), await variants(new=0.3, sft=0.7)
    assert 150 < few.count("new") < 250
    assert 520 < more.count("new") < 680
    assert all(after == "new" for before, after in zip(few, more, strict=True) if before == "new")
    assert few == await variants(sft=0.9, new=0.1), "the same on every replica"


async def test_a_user_in_an_experiment_is_not_moved_by_shares(tmp_path: Path) -> None:
    file = features(tmp_path, HALVES)
    users = [f"user-{n}" for n in range(200)]
    alone = await load(file)
    shifted = await load(file, shares={"rad-dpo": 1.0})
    assert [await assigned(alone, user) for user in users] == [
        await assigned(shifted, user) for user in users
    ]


async def test_who_misses_a_variant_is_in_no_experiment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offered = {"now": Traffic(("sft",), {})}
    metrics = Metrics()
    file = features(tmp_path, HALVES)
    experiments = await Experiments.load(file, lambda: offered["now"], metrics)
    users = [f"user-{n}" for n in range(100)]
    while_missing = [await assigned(experiments, user) for user in users]
    n_missed = while_missing.count(Assignment("sft", None, None))
    assert 20 < n_missed < 80
    assert {each.variant for each in while_missing} == {"sft"}
    assert metrics.registry.get_sample_value("radsearch_variant_fallbacks_total") == n_missed
    assert [record.getMessage() for record in caplog.records] == ["a variant is not loaded, others answer"]
    offered["now"] = Traffic(("sft", "rad-dpo"), {})
    assert {(await assigned(experiments, user)).variant for user in users} == {"sft", "rad-dpo"}


async def test_a_default_that_is_not_loaded_is_the_first_variant(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, default="gone"))
    assert (await assigned(experiments, "ada")).variant == experiments.default == "sft"
