import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import redis
from fastapi import Depends

from service.access import require_admin
from service.errors import ServiceError
from service.keys import KeySet, Scope, add_key, digest, revoke_key
from tests.service.redis_server import new_valkey

ROTATION_S = 30  # the file is looked at every second; a busy machine may take longer


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def assert_refused(response: httpx.Response, status: int, kind: str) -> str:
    """A problem, and what it says."""
    assert response.status_code == status, response.text
    problem = response.json()
    assert problem["type"] == f"urn:radsearch:problem:{kind}"
    assert problem["request_id"] == response.headers["x-request-id"]
    if status == 401:
        assert response.headers["www-authenticate"].startswith("Bearer")
    return str(problem["detail"])


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + ROTATION_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


class Shop:
    """A running service with keys, and an endpoint that only admins reach."""

    def __init__(self, running: Any, file: Path, search: str, admin: str) -> None:
        self.running = running
        self.file = file
        self.search_key, self.admin_key = search, admin

    def search(self, key: str | None) -> httpx.Response:
        headers = bearer(key) if key else {}
        return self.running.client.post("/v1/search", json={"query": "red"}, headers=headers)


@pytest.fixture(scope="module")
def shop(start_service: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    search, admin = add_key(file, Scope.SEARCH, "shop"), add_key(file, Scope.ADMIN, "ops")
    with start_service(keys=file) as running:

        @running.app.get("/admins", dependencies=[Depends(require_admin)])
        async def admins() -> str:
            return "welcome"

        yield Shop(running, file, search, admin)


def test_who_may_search(shop: Shop) -> None:
    assert shop.search(shop.search_key).status_code == 200
    assert "Authorization: Bearer KEY" in assert_refused(shop.search(None), 401, "unauthorized")
    assert_refused(shop.search("radsearch_search_guess"), 401, "unauthorized")
    assert_refused(shop.search(digest(shop.search_key)), 401, "unauthorized")
    assert "scope admin" in assert_refused(shop.search(shop.admin_key), 403, "forbidden")


def test_who_is_an_admin(shop: Shop) -> None:
    get = shop.running.client.get
    assert get("/admins", headers=bearer(shop.admin_key)).json() == "welcome"
    assert_refused(get("/admins"), 401, "unauthorized")
    assert_refused(get("/admins", headers=bearer(shop.search_key)), 403, "forbidden")


@pytest.mark.parametrize(
    "given",
    [b"Basic cmVkOnJlZA==", b"Bearer", b"", b"bearer \xff\xfe", b"Bearer " + b"x" * 10_000],
)
def test_credentials_that_are_none(given: bytes, shop: Shop) -> None:
    response = shop.running.client.post(
        "/v1/search", json={"query": "red"}, headers=[(b"Authorization", given)]
    )
    assert_refused(response, 401, "unauthorized")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/search"),
        ("POST", "/v1/search/batch"),
        ("POST", "/v1/events"),
        ("GET", "/v1/models"),
        ("GET", "/v1/experiments"),
    ],
)
def test_the_whole_api_asks_for_the_search_key(method: str, path: str, shop: Shop) -> None:
    body = {"json": {}} if method == "POST" else {}
    assert_refused(shop.running.client.request(method, path, **body), 401, "unauthorized")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/", "/docs", "/openapi.json"])
def test_what_needs_no_key(path: str, shop: Shop) -> None:
    assert shop.running.client.get(path).status_code == 200


def test_the_document_says_which_key(shop: Shop, running: Any) -> None:
    document = shop.running.client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["searchKey"]["scheme"] == "bearer"
    assert document["paths"]["/v1/search"]["post"]["security"] == [{"searchKey": []}]
    without_keys = running.client.get("/openapi.json").json()
    assert {} in without_keys["paths"]["/v1/search"]["post"]["security"]


def test_keys_change_while_the_service_runs(start_service: Any, tmp_path: Path) -> None:
    """A new key is known, a revoked one is not, and the last one's end does not open the search."""
    file = tmp_path / "keys.toml"
    old = add_key(file, Scope.SEARCH, "old")
    with start_service(keys=file) as running:
        shop = Shop(running, file, old, "")
        new = add_key(file, Scope.SEARCH, "new")
        eventually(lambda: shop.search(new).status_code == 200)
        assert shop.search(old).status_code == 200
        revoke_key(file, "old")
        eventually(lambda: shop.search(old).status_code == 401)
        assert shop.search(new).status_code == 200
        revoke_key(file, "new")
        eventually(lambda: shop.search(new).status_code == 401)
        assert shop.search(None).status_code == 401


def test_a_broken_file_leaves_the_keys_as_they_are(start_service: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, Scope.SEARCH, "shop")
    whole = file.read_text()
    with start_service(keys=file) as running:
        shop = Shop(running, file, key, "")
        for broken in (b"", b"[[keys]", b"\xff", None):
            file.unlink() if broken is None else file.write_bytes(broken)
            eventually(lambda: running.metric("radsearch_keys_stale") == 1)
            assert shop.search(key).status_code == 200
            assert shop.search(None).status_code == 401
        file.write_text(whole)
        eventually(lambda: running.metric("radsearch_keys_stale") == 0)
        assert shop.search(key).status_code == 200


def test_without_keys_search_is_open_and_admin_closed(start_service: Any) -> None:
    with start_service() as running:

        @running.app.get("/admins", dependencies=[Depends(require_admin)])
        async def admins() -> str:
            return "welcome"

        assert running.search()["items"]
        refused = running.client.get("/admins", headers=bearer("anything"))
        assert "radsearch key new" in assert_refused(refused, 403, "forbidden")


def test_an_admin_key_alone_leaves_search_open(start_service: Any, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml", Scope.ADMIN, "ops")
    with start_service(keys=tmp_path / "keys.toml") as running:
        assert running.search()["items"]


KEY = f'[[keys]]\nname = "a"\nscope = "admin"\nsha256 = "{"0" * 64}"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "keys: "),
        ("keys = 5", "keys: "),
        ("[[keys]", "line 1"),
        (KEY.replace("admin", "root"), "keys.0.scope: "),
        (KEY.replace("0" * 64, "hunter2"), "keys.0.sha256: "),
        (KEY.replace("sha256", "key"), "keys.0.sha256: "),
        (KEY + "owner = 1", "keys.0.owner: "),
        (KEY + KEY, "twice"),
    ],
)
def test_files_that_hold_no_keys(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        KeySet.parse(text)
    assert "hunter2" not in str(caught.value)


def test_a_service_does_not_start_without_the_keys_it_is_told_of(start_service: Any, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="radsearch key new"), start_service(keys=tmp_path / "none.toml"):
        pass


def test_the_file_keeps_hashes_and_is_its_owner_s(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    key = add_key(file, Scope.ADMIN, "ops")
    assert key not in file.read_text()
    assert digest(key) in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(ServiceError, match="has a key 'ops'"):
        add_key(file, Scope.SEARCH, "ops")
    with pytest.raises(ServiceError, match="cannot name a key"):
        add_key(file, Scope.SEARCH, 'a"\n')
    with pytest.raises(ServiceError, match="no key 'opps'"):
        revoke_key(file, "opps")


def test_the_command_line_makes_and_revokes(tmp_path: Path) -> None:
    file = str(tmp_path / "keys.toml")

    def radsearch_key(*arguments: str) -> str:
        program = [sys.executable, "-m", "radsearch", "key", *arguments, "--keys", file]
        return subprocess.run(program, check=True, capture_output=True, text=True).stdout

    key = radsearch_key("new", "--scope", "search", "--name", "shop").strip()
    found = KeySet.parse(Path(file).read_text()).find(key)
    assert found is not None
    assert (found.name, found.scope) == ("shop", Scope.SEARCH)
    radsearch_key("revoke", "--name", "shop")
    assert KeySet.parse(Path(file).read_text()).find(key) is None


class Served:
    """``radsearch serve`` in a process of its own, at its most talkative.

    Attributes:
        url: where it listens.
        written: on stdout and stderr; all of it is there once the process has ended.
    """

    def __init__(self, bundles: Path, tmp_path: Path, **environment: str) -> None:
        program = [
            sys.executable,
            "-m",
            "radsearch",
            "serve",
            "--json",
            "--port",
            "0",
            "--log-level",
            "debug",
        ]
        program += ["--bundle", str(bundles / "sft"), "--event-log", str(tmp_path / "events")]
        self._process = subprocess.Popen(
            program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        self.written = ""

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        announced = self._process.stdout.readline()
        assert announced, self._process.communicate()
        self.url: str = json.loads(announced)["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self.written = "".join(self._process.communicate(timeout=60))


def test_logs_hold_no_secret(bundles: Path, tmp_path: Path) -> None:
    """Everything a real process writes, while secrets come in by every door and Redis dies."""
    file = tmp_path / "keys.toml"
    key = add_key(file, Scope.SEARCH, "shop")
    valkey = new_valkey()
    valkey.start()
    with redis.Redis.from_url(valkey.connection_url) as told:
        told.config_set("requirepass", "hunter2")
    url = valkey.connection_url.replace("redis://", "redis://:hunter2@")
    with (
        Served(bundles, tmp_path, RADSEARCH_KEYS=str(file), REDIS_URL=url) as served,
        httpx.Client(base_url=served.url, timeout=30) as client,
    ):
        client.cookies.set("radsearch_id", "cookie-of-ada")
        for sent in (key, key[:-1], f"{key}x"):
            for path in ("/v1/search", "/v1/nothing", f"/v1/{sent}", f"/v1/search?key={sent}"):
                client.post(path, json={"query": "secret wish"}, headers=bearer(sent))
        client.post("/v1/search", content=b"{", headers=bearer(key))
        valkey.stop()
        answer = client.post("/v1/search", json={"query": "secret wish two"}, headers=bearer(key))
        assert answer.status_code == 200
    assert '"request"' in served.written
    for secret in (key[:-1], digest(key), "hunter2", "cookie-of-ada", "secret wish", "Bearer"):
        assert secret not in served.written


def test_the_password_of_a_redis_that_is_away_is_not_told(bundles: Path, tmp_path: Path) -> None:
    with Served(bundles, tmp_path, REDIS_URL="redis://shop:hunter2@127.0.0.1:1/0") as served:
        pass
    assert "redis is away" in served.written
    assert "hunter2" not in served.written
