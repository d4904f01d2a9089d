"""Features are followed while the service runs: in a file, and on a server that speaks as GrowthBook's."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service import features
from service.errors import ServiceError
from service.features import Features, FeaturesFile, FeaturesServer, Source
from service.metrics import Metrics

pytestmark = pytest.mark.anyio

KEY = "sdk-8XK2"


class GrowthBook:
    """A server of features; as many as it has answered are in ``asked``, by status."""

    def __init__(self) -> None:
        self.payload: str | None = "{}"
        self.asked: list[int] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        growthbook = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                payload = growthbook.payload
                tag = f'"{hash(payload)}"'
                status = 404 if self.path != f"/api/features/{KEY}" else 500 if payload is None else 200
                if status == 200 and self.headers["If-None-Match"] == tag:
                    status = 304
                self.send_response(status)
                self.send_header("ETag", tag)
                self.end_headers()
                if status == 200 and payload is not None:
                    self.wfile.write(payload.encode())
                growthbook.asked.append(status)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def growthbook() -> Iterator[GrowthBook]:
    server = GrowthBook()
    yield server
    server.close()


class OftenRead(FeaturesFile):
    """Counts how often it was looked at."""

    interval_s = 0.01
    n_reads = 0

    async def read(self) -> str:
        self.n_reads += 1
        return await super().read()


def payload(default: Any = "sft", **others: Any) -> str:
    return json.dumps({"status": 200, "features": {"variant": {"defaultValue": default}, **others}})


class Followed(Features):
    """Features with their own metrics, of which everything is accepted but a variant named 'refused'."""

    def __init__(self, source: Source, cache: Path | None = None) -> None:
        self.metrics = Metrics()
        super().__init__(source, cache, self._refuse, self.metrics)

    def _refuse(self, rules: Any) -> None:
        if "refused" in rules.variants():
            raise ServiceError("'refused' is refused")

    @property
    def default(self) -> object:
        return self.rules.default("variant")

    @property
    def is_stale(self) -> bool:
        return self.metrics.registry.get_sample_value("radsearch_features_stale") == 1

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.005)

    async def __aenter__(self) -> "Followed":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "features.json"
    file.write_text(payload("sft"))
    async with Followed(OftenRead(file)) as followed:
        assert followed.default == "sft"
        file.write_text(payload("rad-dpo"))
        await followed.until(lambda: followed.default == "rad-dpo")
        assert not followed.is_stale


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("{", "holds no features that can be used"),
        (payload(beam_width={"defaultValue": "wide"}), "feature 'beam_width': beam_width: Input should be"),
        (payload("refused"), "'refused' is refused"),
        (None, "not found"),
    ],
)
async def test_what_cannot_be_used_leaves_what_was_there(
    broken: str | None, complaint: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "features.json"
    file.write_text(payload("sft"))
    source = OftenRead(file)
    async with Followed(source) as followed:
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        await followed.until(lambda: followed.is_stale)
        n_reads = source.n_reads
        await followed.until(lambda: source.n_reads > n_reads + 2)  # it is said once all the same
        assert followed.default == "sft"
        assert complaint in followed.problem
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert complaint in record.getMessage()
        file.write_text(payload("sft"))
        await followed.until(lambda: not followed.is_stale)
        assert (followed.default, followed.problem) == ("sft", "")


async def test_a_server_is_asked_again_and_again(growthbook: GrowthBook) -> None:
    growthbook.payload = payload("sft")
    async with Followed(FeaturesServer(growthbook.url + "/", KEY, 0.01)) as followed:
        assert followed.default == "sft"
        await followed.until(lambda: growthbook.asked[-1] == 304)
        growthbook.payload = payload("rad-dpo")
        await followed.until(lambda: followed.default == "rad-dpo")
        assert growthbook.asked.count(200) == 2, "what has not changed is not sent again"


async def failing(growthbook: GrowthBook) -> None:
    growthbook.payload = None


async def gone(growthbook: GrowthBook) -> None:
    await asyncio.to_thread(growthbook.close)


async def telling_nonsense(growthbook: GrowthBook) -> None:
    growthbook.payload = '{"status": 400, "message": "Invalid API Key"}'


async def telling_bytes(growthbook: GrowthBook) -> None:
    growthbook.payload = "\ufeff"


@pytest.mark.parametrize("fail", [failing, gone, telling_nonsense, telling_bytes])
async def test_while_a_server_is_away_the_features_stay(
    fail: Callable[[GrowthBook], Awaitable[None]], growthbook: GrowthBook, caplog: pytest.LogCaptureFixture
) -> None:
    growthbook.payload = payload("rad-dpo")
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01)) as followed:
        await fail(growthbook)
        await followed.until(lambda: followed.is_stale)
        assert followed.default == "rad-dpo"
        assert growthbook.url in followed.problem
    assert KEY not in caplog.text


async def test_a_start_without_the_server_has_no_rules(growthbook: GrowthBook) -> None:
    growthbook.payload = None
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01)) as followed:
        assert followed.is_stale
        assert followed.default is None
        growthbook.payload = payload("sft")
        await followed.until(lambda: followed.default == "sft")
        assert not followed.is_stale


async def test_a_start_without_the_server_takes_what_was_kept(growthbook: GrowthBook, tmp_path: Path) -> None:
    growthbook.payload, cache = payload("rad-dpo"), tmp_path / "features.json"
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01), cache):
        pass
    assert json.loads(cache.read_text()) == json.loads(growthbook.payload)
    growthbook.payload = None
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01), cache) as followed:
        assert followed.default == "rad-dpo"
        assert followed.is_stale
    cache.write_text("{")
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01), cache) as followed:
        assert followed.default is None


async def test_a_place_where_nothing_can_be_kept_is_no_fault(growthbook: GrowthBook, tmp_path: Path) -> None:
    growthbook.payload = payload("sft")
    cache = tmp_path / "missing" / "features.json"
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01), cache) as followed:
        assert (followed.default, followed.is_stale) == ("sft", False)


async def test_an_endless_answer_is_not_read_to_its_end(
    growthbook: GrowthBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "MAX_BYTES", 1_000)
    growthbook.payload = payload("x" * 1_000)
    with pytest.raises(ServiceError, match="more than 1,000 bytes"):
        await FeaturesServer(growthbook.url, KEY, 1).read()


async def test_a_server_that_has_nothing_for_us_is_no_mistake(growthbook: GrowthBook) -> None:
    growthbook.payload = '{"status": 200, "features": {"checkout": {"defaultValue": "new"}}}'
    async with Followed(FeaturesServer(growthbook.url, KEY, 0.01)) as followed:
        assert not followed.is_stale
