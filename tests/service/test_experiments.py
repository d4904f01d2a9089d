"""Who gets what, by rules, layers, shares and defaults."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.decoding import Decoding
from service.errors import ServiceError
from service.experiments import Arm, Assignment, Caller, Experiments
from service.features import FeaturesFile
from service.metrics import Metrics
from service.problems import InvalidRequestError
from service.traffic import Traffic

pytestmark = pytest.mark.anyio

VARIANTS = ["sft", "rad-dpo"]
HALVES = {"key": "ab", "variations": ["sft", "rad-dpo"], "weights": [0.5, 0.5], "coverage": 1.0}
WIDTHS = {"key": "widths", "variations": [16, 64], "weights": [0.5, 0.5], "hashVersion": 2, "seed": "widths"}
HELD_OUT = {"key": "held-out", "variations": [True, False], "weights": [0.2, 0.8], "hashVersion": 2}
SFT = Assignment((Arm("sft"),))


def write(path: Path, **features: Any) -> Path:
    file = path / "features.json"
    file.write_text(json.dumps({"features": features}))
    return file


def features(path: Path, *rules: dict[str, Any], default: Any = "sft") -> Path:
    return write(path, variant={"defaultValue": default, "rules": rules})


def made(
    path: Path | None, variants: Sequence[str] = VARIANTS, shares: dict[str, float] | None = None
) -> Experiments:
    traffic = Traffic(tuple(variants), shares or {})
    return Experiments(FeaturesFile(path) if path else None, None, lambda: traffic, Metrics(), may_load=True)


async def load(path: Path | None, *args: Any, **shares: Any) -> Experiments:
    """Experiments that follow nothing."""
    experiments = made(path, *args, **shares)
    await experiments.start()
    await experiments.close()
    return experiments


async def assigned(experiments: Experiments, user_id: str | None, anonymous_id: str = "a") -> Assignment:
    return await experiments.assign(Caller(user_id, anonymous_id))


async def test_without_a_file_everybody_gets_the_first_variant() -> None:
    assert await assigned(await load(None), "ada") == SFT


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
    assert assignment.experiments == {"ab": VARIANTS.index(assignment.variant)}


async def test_a_variant_can_be_forced_by_a_rule(tmp_path: Path) -> None:
    rule = {"condition": {"user_id": "tester"}, "force": "rad-dpo"}
    experiments = await load(features(tmp_path, rule))
    assert await assigned(experiments, "tester") == Assignment((Arm("rad-dpo"),))
    assert await assigned(experiments, "ada") == SFT


async def test_a_variant_can_be_asked_for(tmp_path: Path) -> None:
    experiments = await load(
        write(tmp_path, variant={"rules": [HALVES]}, beam_width={"defaultValue": 8, "rules": [WIDTHS]})
    )
    for user in ("ada", "bob", "cyd"):
        assignment = await experiments.assign(Caller(user, "a", variant="rad-dpo"))
        assert assignment == Assignment((Arm("rad-dpo"),)), "no exposure, nothing of an experiment"
    with pytest.raises(InvalidRequestError, match="'gone' is not loaded, choose from sft, rad-dpo"):
        await experiments.assign(Caller("ada", "a", variant="gone"))


@pytest.mark.parametrize(
    ("attributes", "variant"),
    [
        ({"country": "DE", "logged_in": True}, "rad-dpo"),
        ({"country": "DE", "logged_in": False}, "sft"),
        ({"country": "FR", "logged_in": True}, "sft"),
        ({"logged_in": True}, "sft"),
        ({}, "sft"),
    ],
)
async def test_rules_ask_for_what_is_known_of_the_caller(
    attributes: dict[str, Any], variant: str, tmp_path: Path
) -> None:
    rule = {"condition": {"country": {"$in": ["DE", "AT"]}, "logged_in": True}, "force": "rad-dpo"}
    experiments = await load(features(tmp_path, rule))
    assert (await experiments.assign(Caller("ada", "a", attributes))).variant == variant


async def test_attributes_say_nothing_about_who_somebody_is(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, HALVES))
    for user in ("ada", "bob", "cyd", "dan"):
        spoofed = await experiments.assign(Caller(user, "a", {"id": "x", "user_id": "x"}))
        assert spoofed == await assigned(experiments, user)


async def test_null_is_the_first_variant(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, default=None))
    assert (await assigned(experiments, "ada")).variant == "sft"


async def test_a_variation_that_is_null_takes_part_and_gets_what_others_get(tmp_path: Path) -> None:
    rule = HALVES | {"variations": [None, "rad-dpo"]}
    experiments = await load(features(tmp_path, rule))
    seen = {}
    for user in map(str, range(20)):
        assignment = await assigned(experiments, user)
        seen[assignment.experiments["ab"]] = assignment.variant
    assert seen == {0: "sft", 1: "rad-dpo"}


async def test_the_features_may_stand_alone(tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(json.dumps({"variant": {"defaultValue": "rad-dpo"}}))
    assert (await assigned(await load(file), "ada")).variant == "rad-dpo"


@pytest.mark.parametrize(
    ("rules", "default"),
    [
        ([], "gone"),
        ([{"force": "gone"}], "sft"),
        ([HALVES | {"variations": ["sft", "gone"]}], "sft"),
        ([HALVES, {"force": {"variant": "gone", "beam_width": 8}}], "sft"),
        ([HALVES, {"force": {"interleave": ["sft", "gone"]}}], "sft"),
    ],
)
async def test_a_variant_that_is_not_loaded(rules: list[Any], default: Any, tmp_path: Path) -> None:
    file, traffic = features(tmp_path, *rules, default=default), Traffic(tuple(VARIANTS), {})
    experiments = Experiments(FeaturesFile(file), None, lambda: traffic, Metrics())
    with pytest.raises(ServiceError, match=r"variant 'gone' is not loaded \(sft, rad-dpo\)"):
        await experiments.start()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "holds no features"),
        ("[]", "is no JSON object"),
        ("{}", "none that a search asks for: variant, beam_width, ordering, max_per_sid, holdout"),
        ('{"features": []}', "features: Input should be an object"),
        ('{"encryptedFeatures": "x"}', "is encrypted"),
        ('{"variant": 5}', "features.variant"),
        ('{"variant": {"rules": 5}}', "features.variant.rules"),
        ('{"variant": {"rules": ["x"]}}', "features.variant.rules.0"),
        ('{"variant": {"rules": [{"force": "sft", "coverage": 2}]}}', "coverage: Input should be less than"),
        ('{"variant": {"rules": [{"force": "sft", "coverage": "x"}]}}', "coverage: Input should be a valid"),
        ('{"variant": {"rules": [{"variations": ["sft"]}]}}', "needs two variations"),
        ('{"variant": {"rules": [{"force": "sft", "namespace": ["n", 0, 0.5]}]}}', "write it as filters"),
        ('{"variant": {"rules": [{"variations": [1, 2]}]}}', "variant: Input should be a valid string"),
        (
            '{"variant": {"rules": [{"variations": ["sft", "sft"], "weights": [1]}]}}',
            "1 weights for 2 variations",
        ),
        (
            '{"variant": {"rules": [{"variations": ["sft", "sft"], "weights": [0.5, 0.2]}]}}',
            "weights sum up to 0.7",
        ),
        ('{"variant": {"defaultValue": {"interleave": ["sft", "rad-dpo"]}}}', "interleaves by default"),
        (
            '{"variant": {"rules": [{"force": {"interleave": ["sft", "sft"]}}]}}',
            "two named 'sft'",
        ),
        (
            '{"variant": {"rules": [{"force": {"variant": "sft", "beams": 4}}]}}',
            "beams: Unexpected keyword",
        ),
        ('{"beam_width": {"defaultValue": 0}}', "beam_width: Input should be greater"),
        ('{"ordering": {"defaultValue": {"tua": 1}}}', "is no weight, choose from tau, prior"),
        ('{"holdout": {"defaultValue": "no"}}', "feature 'holdout': 'no' is neither true nor false"),
    ],
)
async def test_a_file_that_cannot_be_used(text: str, complaint: str, tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(text)
    with pytest.raises(ServiceError) as caught:
        await load(file)
    assert complaint in str(caught.value)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not found"):
        await load(tmp_path / "features.json")


async def test_shares_decide_where_no_rule_does(tmp_path: Path) -> None:
    users = [f"user-{n}" for n in range(2_000)]

    async def variants(**shares: float) -> list[str]:
        rule = {"condition": {"user_id": "tester"}, "force": "rad-dpo"}
        experiments = await load(features(tmp_path, rule), ["sft", "rad-dpo", "new"], shares=shares)
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
    source = FeaturesFile(features(tmp_path, HALVES))
    experiments = Experiments(source, None, lambda: offered["now"], metrics, may_load=True)
    await experiments.start()
    await experiments.close()
    users = [f"user-{n}" for n in range(100)]
    while_missing = [await assigned(experiments, user) for user in users]
    n_missed = while_missing.count(SFT)
    assert 20 < n_missed < 80
    assert {each.variant for each in while_missing} == {"sft"}
    assert metrics.registry.get_sample_value("radsearch_variant_fallbacks_total") == n_missed
    assert [record.getMessage() for record in caplog.records] == ["a variant is not loaded, others answer"]
    offered["now"] = Traffic(("sft", "rad-dpo"), {})
    assert {(await assigned(experiments, user)).variant for user in users} == {"sft", "rad-dpo"}


async def test_a_default_that_is_not_loaded_is_the_first_variant(tmp_path: Path) -> None:
    experiments = await load(features(tmp_path, default="gone"))
    assert (await assigned(experiments, "ada")).variant == experiments.default == "sft"


async def test_layers_set_what_is_left_open(tmp_path: Path) -> None:
    wide = {"condition": {"user_id": "wide"}, "force": {"variant": "rad-dpo", "beam_width": 128}}
    experiments = await load(
        write(
            tmp_path,
            variant={"defaultValue": "sft", "rules": [wide, HALVES]},
            beam_width={"rules": [WIDTHS]},
            ordering={"defaultValue": {"tau": 0.5}},
        )
    )
    assignment = await assigned(experiments, "ada")
    (arm,) = assignment.arms
    assert assignment.experiments.keys() == {"ab", "widths"}
    assert arm.decoding == Decoding(
        beam_width=WIDTHS["variations"][assignment.experiments["widths"]], ordering={"tau": 0.5}
    )
    of_arm = await assigned(experiments, "wide")
    assert of_arm == Assignment((Arm("rad-dpo", "", Decoding(beam_width=128, ordering={"tau": 0.5})),))
    asked = await experiments.assign(Caller("ada", "a"), Decoding(beam_width=4))
    assert asked.experiments.keys() == {"ab"}, "the layer had no effect"
    assert asked.arms[0].decoding.beam_width == 4


async def test_settings_without_a_variant_are_those_of_any(tmp_path: Path) -> None:
    file = features(tmp_path, {"force": {"ordering": {"tau": 2.0}}})
    experiments = await load(file, shares={"rad-dpo": 1.0})
    assert (await assigned(experiments, "ada")).arms == (Arm("rad-dpo", "", Decoding(ordering={"tau": 2.0})),)


async def test_who_is_held_out_gets_all_defaults(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        holdout={"defaultValue": False, "rules": [HELD_OUT]},
        variant={"defaultValue": "sft", "rules": [HALVES]},
        beam_width={"defaultValue": 32, "rules": [WIDTHS]},
    )
    experiments = await load(file, shares={"rad-dpo": 1.0})
    assignments = [await assigned(experiments, str(n)) for n in range(500)]
    held_out = [each for each in assignments if each.experiments["held-out"] == 0]
    assert 50 < len(held_out) < 150
    for each in assignments:
        if each in held_out:
            assert each == Assignment((Arm("sft", "", Decoding(beam_width=32)),), {"held-out": 0})
        else:
            assert each.experiments.keys() == {"held-out", "ab", "widths"}


async def test_a_holdout_may_be_a_prerequisite_as_growthbook_writes_it(tmp_path: Path) -> None:
    holdout = HELD_OUT | {"variations": ["holdoutcontrol", "holdouttreatment"]}
    held_out = {"parentConditions": [{"id": "$holdout:h1", "condition": {"value": "holdoutcontrol"}}]}
    file = write(
        tmp_path,
        **{"$holdout:h1": {"defaultValue": "genpop", "rules": [holdout]}},
        variant={"defaultValue": "sft", "rules": [held_out | {"force": "sft"}, HALVES]},
    )
    experiments = await load(file)
    assignments = [await assigned(experiments, str(n)) for n in range(200)]
    for each in assignments:
        assert each.experiments.keys() == (
            {"held-out"} if each.experiments["held-out"] == 0 else {"held-out", "ab"}
        )
    assert {each.experiments["held-out"] for each in assignments} == {0, 1}


async def test_two_variants_may_be_interleaved(tmp_path: Path) -> None:
    by_words = {"variant": "sft", "ordering": {"words": 2.0}, "name": "by-words"}
    rules = [
        {"condition": {"user_id": "tester"}, "force": {"interleave": ["sft", by_words]}, "id": "fr_1"},
        HALVES | {"variations": ["sft", {"interleave": ["rad-dpo", "sft"]}]},
    ]
    experiments = await load(write(tmp_path, variant={"rules": rules}, max_per_sid={"defaultValue": 3}))
    forced = await assigned(experiments, "tester")
    assert forced.arms == (
        Arm("sft", "", Decoding(max_per_sid=3)),
        Arm("sft", "by-words", Decoding(max_per_sid=3, ordering={"words": 2.0})),
    )
    assert (forced.variant, forced.experiments, forced.interleaving) == ("sft+by-words", {}, "fr_1")
    drawn = [await assigned(experiments, str(n)) for n in range(40)]
    assert {(each.variant, each.experiments["ab"], each.interleaving) for each in drawn} == {
        ("sft", 0, None),
        ("rad-dpo+sft", 1, "ab"),
    }


async def test_what_is_interleaved_must_both_be_loaded(tmp_path: Path) -> None:
    file = features(tmp_path, {"force": {"interleave": ["sft", "gone"]}})
    assert await assigned(await load(file), "ada") == SFT
