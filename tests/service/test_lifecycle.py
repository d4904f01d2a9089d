import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from service.errors import ServiceError
from service.settings import BundleSource
from sid.manifest import BundleError
from tests.service.redis_server import new_valkey

WITHOUT_TORCH = """
import sys

ABSENT = {"torch", "training", "model_export", "transformers", "onnx", "faiss", "sklearn", "scipy"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"{name} is not in the serving image")

sys.meta_path.insert(0, Blocker())
from radsearch.cli import main
main()
"""


def test_sigterm_loses_no_request(serve: Any, bundles: Path) -> None:
    slow = {"RADSEARCH_REDIS_TIMEOUT_MS": "20000", "RADSEARCH_TIMEOUT_MS": "20000", "RADSEARCH_DRAIN_S": "3"}
    with (
        new_valkey() as valkey,
        serve("--bundle", bundles / "sft", REDIS_URL=valkey.connection_url, **slow) as served,
        ThreadPoolExecutor(8) as threads,
    ):
        redis.Redis.from_url(valkey.connection_url).client_pause(2_000)
        answers = [threads.submit(served.search, query=f"red {n}", k=n + 1) for n in range(8)]
        while served.metric("radsearch_batch_size_sum") < 8:  # then all are decoded and wait for Redis
            time.sleep(0.01)
        served.process.send_signal(signal.SIGTERM)
        while (ready := served.client.get("/readyz")).status_code == 200:
            time.sleep(0.01)
        assert ready.status_code == 503
        assert "draining" in ready.json()["detail"]
        assert ready.headers["connection"] == "close"
        responses = [answer.result() for answer in answers]
        assert [response.status_code for response in responses] == [200] * 8
        assert [response.json()["returned"] for response in responses] == list(range(1, 9))
        assert served.process.wait(timeout=60) == 0
        with pytest.raises(httpx.ConnectError):
            served.search()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_behind(
    number: signal.Signals, serve: Any, bundles: Path, tmp_path: Path, scratch: Path
) -> None:
    with serve("--bundle", bundles / "sft", "--log-level", "warning") as served:
        assert served.search().status_code == 200
        (unix_socket,) = scratch.glob("*/valkey.sock")
        valkey = redis.Redis(unix_socket_path=str(unix_socket)).info("server")["process_id"]
        assert served.stop(number) == 0
        assert served.log.read_text() == ""
        with pytest.raises(ProcessLookupError):
            os.kill(valkey, 0)
    assert not list(scratch.iterdir())
    (events,) = (tmp_path / "events").iterdir()
    assert len(events.read_text().splitlines()) == 1


def test_it_serves_where_there_is_no_torch(serve: Any, bundles: Path) -> None:
    named = f"mine={bundles / 'rad-dpo'}"
    with serve("--bundle", named, program=(sys.executable, "-c", WITHOUT_TORCH)) as served:
        answer = served.search(filters={"in_stock": True}).json()
        assert answer["items"]
        assert (answer["variant"], answer["model"]) == ("mine", "rad-dpo")
        assert served.stop(signal.SIGTERM) == 0


def test_mistakes_are_one_line_and_an_exit_code(bundles: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["serve", "--bundle", bundles / "sft", "--event-log", tmp_path, "--port", str(port)]
        finished = subprocess.run(
            [sys.executable, "-m", "radsearch", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert (
        finished.stderr == f"error: port {port} on 127.0.0.1 is in use; stop what runs there or pass --port\n"
    )


def truncate(bundle: Path) -> None:
    graph = bundle / "model_k4_fp32.onnx"
    graph.write_bytes(graph.read_bytes()[:-10])


def alter(bundle: Path) -> None:
    items = bytearray((bundle / "items.parquet").read_bytes())
    items[len(items) // 2] ^= 1
    (bundle / "items.parquet").write_bytes(items)


def lose_a_file(bundle: Path) -> None:
    (bundle / "item_vectors.npy").unlink()


def lose_the_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def renew(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))


def grow_old(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"format_version": 1}))


def vanish(bundle: Path) -> None:
    shutil.rmtree(bundle)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (truncate, r"model_k4_fp32\.onnx differs from the hash"),
        (alter, r"items\.parquet differs from the hash"),
        (lose_a_file, r"item_vectors\.npy is missing"),
        (lose_the_manifest, r"manifest\.json not found"),
        (renew, "has bundle format 99"),
        (grow_old, "has bundle format 1, .*; export the bundle again with this release"),
        (vanish, "not found"),
    ],
)
def test_bundles_that_cannot_be_served(
    damage: Callable[[Path], None], complaint: str, bundles: Path, tmp_path: Path, start_service: Any
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles / "sft", bundle)
    damage(bundle)
    with (
        pytest.raises(BundleError, match=complaint) as caught,
        start_service(bundles=(BundleSource(None, bundle),)),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_no_bundle(start_service: Any) -> None:
    with pytest.raises(ServiceError, match="no bundle to serve"), start_service(bundles=()):
        pass


def test_two_bundles_of_one_name(start_service: Any, bundles: Path) -> None:
    twice = (BundleSource(None, bundles / "sft"), BundleSource("sft", bundles / "rad-dpo"))
    with pytest.raises(ServiceError, match="two bundles are named 'sft'"), start_service(bundles=twice):
        pass


def test_no_redis_at_the_start(start_service: Any) -> None:
    with start_service(redis_url="redis://127.0.0.1:1") as running:
        assert running.client.get("/readyz").status_code == 200
        assert running.search()["degraded"] == ["redis"]


def test_an_experiment_on_a_variant_that_is_not_loaded(start_service: Any, tmp_path: Path) -> None:
    (tmp_path / "features.json").write_text('{"variant": {"defaultValue": "gone"}}')
    with (
        pytest.raises(ServiceError, match="'gone' is not loaded"),
        start_service(experiments=tmp_path / "features.json"),
    ):
        pass
