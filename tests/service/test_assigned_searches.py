"""What experiments decide, as searches over HTTP show it and the event log tells it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.device import CPU, Device
from service.errors import ServiceError
from service.interleaving import team_draft
from service.keys import Scope, add_key
from service.settings import BundleSource, ServiceSettings
from service.variants import load_variants
from sid.ordering import OrderingWeights
from tests.service.running import Running
from tests.service.test_access import assert_refused, bearer, eventually

QUERY = "red running shoes"
NO_WEIGHTS = dict.fromkeys(OrderingWeights().to_dict(), 0.0)
FORCED = {
    "mixed": {"interleave": ["sft", "rad-dpo"]},
    "plain": {"variant": "sft", "ordering": NO_WEIGHTS},
    "reworded": {"interleave": ["sft", {"variant": "sft", "ordering": NO_WEIGHTS, "name": "plain"}]},
    "narrow": {"variant": "sft", "beam_width": 2},
    "too-wide": {"variant": "sft", "beam_width": 1_000},
    "spread": {"variant": "sft", "ordering": NO_WEIGHTS, "max_per_sid": 1},
}
AB = {
    "key": "ab",
    "variations": ["sft", "rad-dpo"],
    "weights": [0.6, 0.4],
    "coverage": 0.5,
    "namespace": ["models", 0.0, 0.8],
}
FEATURES = {
    "variant": {
        "defaultValue": "sft",
        "rules": [
            {"id": "at", "condition": {"country": "AT"}, "force": "rad-dpo"},
            *({"id": user, "condition": {"user_id": user}, "force": value} for user, value in FORCED.items()),
            AB,
        ],
    }
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def shop(start_service: Any, bundles: Path, log: Path) -> Iterator[Running]:
    """A service without keys that remembers its results."""
    features = log.with_name("features.json")
    features.write_text(json.dumps(FEATURES))
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with start_service(bundles=sources, experiments=features, event_log=log, result_cache=1_000) as running:
        yield running


def forced(shop: Running, variant: str, **fields: Any) -> dict[str, Any]:
    headers = {"X-Radsearch-Variant": variant}
    response = shop.client.post("/v1/search", json={"query": QUERY, **fields}, headers=headers)
    assert response.status_code == 200
    return response.json()


def exposure_of(log: Path, answer: dict[str, Any]) -> dict[str, Any]:
    """What the event log says of an answer; searches are written soon, not at once."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        lines = [line for file in log.iterdir() for line in file.read_text().splitlines()]
        found[:] = [one for one in map(json.loads, lines) if one["request_id"] == answer["request_id"]]
        return bool(found)

    eventually(is_there)
    return found[0]


def item_ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.parametrize("k", [1, 7, 20])
def test_two_variants_share_an_answer(k: int, shop: Running, log: Path) -> None:
    answer = shop.search(QUERY, user_id="mixed", k=k)
    rankings = [item_ids(forced(shop, variant, k=k)) for variant in ("sft", "rad-dpo")]
    draft = team_draft(rankings[0], rankings[1], k, f"mixed mixed {QUERY}")
    assert item_ids(answer) == list(draft.item_ids)
    assert answer["interleaved"] == {"variants": ["sft", "rad-dpo"], "teams": list(draft.teams)}
    assert (answer["variant"], answer["returned"]) == ("sft+rad-dpo", k)
    exposure = exposure_of(log, answer)
    assert exposure["interleaved"] == {"experiment": "mixed", **answer["interleaved"]}
    assert exposure["items"] == item_ids(answer)
    assert exposure["experiments"] == {}


def test_the_same_search_is_interleaved_the_same_again(shop: Running) -> None:
    first, second = (shop.search("wool hat", user_id="mixed") for _ in range(2))
    assert first["interleaved"] == second["interleaved"]
    assert first["items"] == second["items"]
    assert not first["cached"]
    assert second["cached"]


def test_what_is_interleaved_counts_for_both_variants(shop: Running) -> None:
    def counted() -> list[float]:
        name = "radsearch_searches_total"
        return [shop.metric(name, variant=each, outcome="ok") for each in ("sft", "rad-dpo")]

    before = counted()
    shop.search("green hat", user_id="mixed")
    assert counted() == [n + 1 for n in before]


def test_when_one_side_fails_the_search_fails(shop: Running) -> None:
    body = {"query": QUERY, "user_id": "mixed", "filters": {"colour": "red"}}
    assert_refused(shop.client.post("/v1/search", json=body), 422, "invalid-request")
    body = {"query": "  ", "user_id": "mixed"}
    assert_refused(shop.client.post("/v1/search", json=body), 422, "invalid-request")


def test_one_variant_with_other_weights_is_interleaved_with_itself(shop: Running) -> None:
    before = shop.metric("radsearch_coalesced_total")
    answer = shop.search("green wool hat", user_id="reworded")
    assert shop.metric("radsearch_coalesced_total") == before + 1, "the beams of both are the same"
    assert answer["variant"] == "sft+plain"
    assert answer["model"] == forced(shop, "sft")["model"]


def test_an_explained_search_is_answered_by_one_variant(shop: Running, log: Path) -> None:
    answer = shop.search(QUERY, user_id="mixed", explain=True)
    assert (answer["variant"], answer["interleaved"]) == ("sft", None)
    assert answer["explanation"] is not None
    assert exposure_of(log, answer)["interleaved"] is None


def test_weights_of_an_experiment_make_the_scores(shop: Running) -> None:
    answer = shop.search(QUERY, user_id="plain", explain=True)
    log_prob = {
        tuple(sid["sid"]): sum(code["log_prob"] for code in sid["codes"])
        for sid in answer["explanation"]["sids"]
    }
    for item in answer["items"]:
        assert math.isclose(item["score"], log_prob[tuple(item["sid"])], abs_tol=1e-4)
    assert item_ids(answer) != item_ids(forced(shop, "sft"))


def test_weights_that_are_asked_for_go_first(shop: Running) -> None:
    of_experiment = shop.search(QUERY, user_id="plain")["items"]
    assert forced(shop, "sft", ordering=NO_WEIGHTS)["items"] == of_experiment
    asked = shop.search(QUERY, user_id="plain", ordering={"tau": 2})["items"]
    assert asked == forced(shop, "sft", ordering={"tau": 2})["items"], "what is not named is the bundle's"


def test_a_score_is_a_sum_of_what_is_weighed(shop: Running) -> None:
    """So it is linear in each weight."""
    for name in NO_WEIGHTS:
        below, at, above = (
            scores(forced(shop, "sft", k=60, ordering=NO_WEIGHTS | {name: weight})) for weight in (-3, 0, 3)
        )
        assert at.keys() == below.keys() == above.keys()
        assert any(above[item_id] != at[item_id] for item_id in at)
        for item_id, score in at.items():
            assert math.isclose(below[item_id] + above[item_id], 2 * score, abs_tol=1e-3)


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {item["item_id"]: item["score"] for item in answer["items"]}


def test_a_beam_width_of_an_experiment(shop: Running, log: Path) -> None:
    narrow = shop.search(QUERY, user_id="narrow")
    assert len({tuple(item["sid"]) for item in narrow["items"]}) <= 2
    assert exposure_of(log, narrow)["beam_width"] == 2
    assert item_ids(narrow) == item_ids(forced(shop, "sft", beam_width=2))
    asked = shop.search(QUERY, user_id="narrow", beam_width=64)
    assert item_ids(asked) == item_ids(forced(shop, "sft")), "what is asked for goes first"
    too_wide = shop.search(QUERY, user_id="too-wide")
    assert item_ids(too_wide) == item_ids(forced(shop, "sft"))
    assert exposure_of(log, too_wide)["beam_width"] == 64


def test_a_crowded_sid_gives_its_best_items_alone(shop: Running) -> None:
    everything = shop.search(QUERY, user_id="plain", k=60)["items"]
    spread = shop.search(QUERY, user_id="spread", k=60)["items"]
    best = {tuple(item["sid"]): item for item in reversed(everything)}
    assert len(everything) > len(best)
    assert spread == [item for item in everything if best[tuple(item["sid"])] is item]


def test_results_of_other_settings_are_other_results(shop: Running) -> None:
    users = ["plain", "narrow", "spread"]
    for user in users:
        assert not shop.search("blue boots", user_id=user)["cached"]
    answers = [shop.search("blue boots", user_id=user) for user in users]
    assert all(answer["cached"] for answer in answers)
    assert len({str(answer["items"]) for answer in answers}) == 3


def test_rules_may_ask_for_attributes_and_nobody_keeps_them(
    shop: Running, log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    attributes = {"country": "AT", "device": "a-rare-phone", "logged_in": True, "age": 7}
    answer = shop.search(QUERY, user_id="ada", attributes=attributes)
    assert answer["variant"] == "rad-dpo"
    exposure_of(log, answer)
    logged = "".join(file.read_text() for file in log.iterdir())
    assert "a-rare-phone" not in logged + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": None},
        {"a": [1]},
        {"a": {"b": 1}},
        {"a": "x" * 257},
        {"a": ""},
        {"": 1},
        {"a" * 257: 1},
        {f"a{n}": 1 for n in range(33)},
        [],
    ],
)
def test_attributes_are_few_and_plain(attributes: Any, shop: Running) -> None:
    body = {"query": QUERY, "attributes": attributes}
    assert_refused(shop.client.post("/v1/search", json=body), 422, "invalid-request")


def test_a_variant_that_is_asked_for_is_no_exposure(shop: Running, log: Path) -> None:
    users = [f"user-{n}" for n in range(40)]
    taking_part = next(
        user for user in users if exposure_of(log, shop.search("hat", user_id=user))["experiments"]
    )
    for variant in ("sft", "rad-dpo"):
        answer = forced(shop, variant, user_id=taking_part)
        assert answer["variant"] == variant
        assert exposure_of(log, answer)["experiments"] == {}


@pytest.mark.parametrize("variant", ["gone", "", "sft+rad-dpo", "x" * 65])
def test_a_variant_that_is_not_there(variant: str, shop: Running) -> None:
    headers = {"X-Radsearch-Variant": variant}
    for path, body in [("search", {"query": "red"}), ("search/batch", {"searches": [{"query": "red"}]})]:
        response = shop.client.post(f"/v1/{path}", json=body, headers=headers)
        assert_refused(response, 422, "invalid-request")


def test_a_batch_may_name_its_variant(shop: Running) -> None:
    body = {"searches": [{"query": "red", "user_id": user} for user in ("mixed", "narrow", "ada")]}
    headers = {"X-Radsearch-Variant": "rad-dpo"}
    results = shop.client.post("/v1/search/batch", json=body, headers=headers).json()["results"]
    assert [result["variant"] for result in results] == ["rad-dpo"] * 3


@pytest.mark.parametrize("scopes", [["search", "admin"], ["admin"], ["search"]])
def test_only_admins_name_a_variant_where_there_are_keys(
    scopes: list[str], start_service: Any, tmp_path: Path
) -> None:
    file = tmp_path / "keys.toml"
    keys = {scope: add_key(file, Scope(scope), scope) for scope in scopes}
    with start_service(keys=file) as running:

        def search(key: str | None) -> httpx.Response:
            headers = {"X-Radsearch-Variant": "sft"} | (bearer(key) if key else {})
            return running.client.post("/v1/search", json={"query": "red"}, headers=headers)

        if "admin" in keys:
            assert search(keys["admin"]).status_code == 200
            assert_refused(search(None), 401, "unauthorized")
        else:
            assert_refused(search(None), 403, "forbidden")
        if "search" in keys:
            assert_refused(search(keys["search"]), 403, "forbidden")


def test_running_experiments_are_told(shop: Running) -> None:
    told = shop.client.get("/v1/experiments").json()
    assert (told["variants"], told["default"], told["problem"]) == (["sft", "rad-dpo"], "sft", "")
    by_key = {experiment["key"]: experiment for experiment in told["experiments"]}
    assert list(by_key) == ["mixed", "reworded", "ab"], "what forces one variant is no experiment"
    assert by_key["ab"] == {
        "key": "ab",
        "feature": "variant",
        "variations": ["sft", "rad-dpo"],
        "shares": [0.6, 0.4],
        "coverage": 0.5,
        "namespaces": [{"name": "models", "ranges": [[0.0, 0.8]]}],
        "condition": None,
        "hash_attribute": "id",
        "not_loaded": [],
    }
    assert by_key["mixed"]["variations"] == [{"interleave": ["sft", "rad-dpo"]}]
    assert told["features"] == FEATURES


def test_features_change_while_the_service_runs(start_service: Any, tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text('{"beam_width": {"defaultValue": 64}}')
    with start_service(experiments=file, bundles_root=tmp_path) as running:

        def told() -> dict[str, Any]:
            return running.client.get("/v1/experiments").json()

        file.write_text(json.dumps({"variant": {"rules": [AB], "defaultValue": "sft"}}))
        eventually(lambda: told()["experiments"] != [])
        (experiment,) = told()["experiments"]
        assert experiment["not_loaded"] == ["rad-dpo"]
        file.write_text("{")
        eventually(lambda: told()["problem"] != "")
        assert told()["experiments"] == [experiment]
        assert running.metric("radsearch_features_stale") == 1


def test_a_bundle_may_have_two_names_and_precisions(bundles: Path) -> None:
    sources = f"sft={bundles / 'sft'},exact@fp32={bundles / 'sft'}"
    variants = load_variants(ServiceSettings(bundles=sources), Device(CPU))
    assert set(variants["exact"].engine.precisions) == {"fp32"}
    assert ServiceSettings(bundles="a@int8=x,b=x", precision="fp16").precision_of("a") == "int8"
    assert ServiceSettings(bundles="a@int8=x,b=x", precision="fp16").precision_of("b") == "fp16"
    with pytest.raises(ServiceError, match="fp16"):
        load_variants(ServiceSettings(bundles=f"half@fp16={bundles / 'sft'}"), Device(CPU))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"growthbook_url": "https://gb.example", "experiments": "f.json"}, "choose one"),
        ({"growthbook_url": "https://gb.example"}, "needs growthbook_client_key"),
        ({"growthbook_url": "gb.example", "growthbook_client_key": "sdk-1"}, "growthbook_url"),
    ],
)
def test_features_come_from_one_place(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ServiceError, match=complaint):
        ServiceSettings.load(**given)
