"""``radsearch bench live``: how soon a change of the catalogue is seen, and whether answers are right."""

import asyncio
import ctypes
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import methodcaller
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.live_shop import export_model, titles, write_catalogue, write_large_catalogue
from benchmarks.memory import peak_bytes, restart_peak
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
from service.app import start
from service.device import CPU, Device
from service.experiments import Caller
from service.live import LiveCatalogue
from service.metrics import Metrics
from service.schemas import SearchRequest, SearchResponse
from service.settings import BundleSource, ServiceSettings
from service.state import Service
from service.store import ItemStore
from service.tracing import Tracing
from service.variants import load_variants

VARIANT = "live"
SEED = 0
REPEATS = 20
CLIENTS = 16
SWAPPED_ITEMS = 5_000
CATALOGUES = 4
QUERIES = 12
IN_STOCK = {"in_stock": True}


def live(
    delist_items: Annotated[
        int, typer.Option(min=1, help="Items in the catalogue to delist from.")
    ] = 1_000_000,
    upsert_items: Annotated[int, typer.Option(min=1, help="Items in the catalogue to add to.")] = 100_000,
    searches: Annotated[int, typer.Option(min=1, help="Searches while epochs are swapped.")] = 10_000,
    swaps: Annotated[int, typer.Option(min=1, help="Swaps in the meantime.")] = 50,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Change catalogues in a running service; time it, and hold every answer against its epoch.

    Example: radsearch bench live --searches 10000 --swaps 50
    """
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="radsearch-bench-") as directory:
        scratch = Path(directory)
        console.print("Exporting a model")
        model = export_model(scratch, SEED)
        console.print(f"{swaps} swaps under {searches:,} searches")
        swapped = asyncio.run(measure_swaps(model, scratch, searches, swaps))
        console.print(f"Adding items to {upsert_items:,}")
        added = asyncio.run(measure_upserts(model, scratch, upsert_items))
        console.print(f"Delisting among {delist_items:,}")
        delisted = asyncio.run(measure_delists(model, scratch, delist_items))
    fields = {"delist": delisted, "upsert": added, "swap": swapped}
    made = record("live", torch.device("cpu"), [SEED], fields, ("onnxruntime", "pyarrow"))
    deliver(made, out, as_json, _print)


async def measure_delists(model: Path, scratch: Path, n_items: int) -> dict[str, Any]:
    """Milliseconds from the call until the next search is held to the change; Redis has no part in it."""
    path = write_large_catalogue(model, scratch / "large", n_items, SEED)
    variants = load_variants(_settings(path, scratch), Device(CPU))
    store = ItemStore.connect(None, "bench", 1_000, 3_600, Metrics())
    catalogue = await asyncio.to_thread(LiveCatalogue, variants, store, 16, Metrics())
    delist, undelist, first_filter = [], [], []
    for number in range(REPEATS):
        item_id = f"item-{number * (n_items // REPEATS)}"
        for delisted, seconds in (([item_id], delist), ([], undelist)):
            started = time.perf_counter()
            await catalogue.change(methodcaller("relisted", delisted))
            seconds.append(time.perf_counter() - started)
            filters = catalogue.snapshot(VARIANT).filters
            started = time.perf_counter()
            await filters.mask(IN_STOCK)
            first_filter.append(time.perf_counter() - started)
            row = catalogue.snapshot(VARIANT).epoch.catalogue.rows_of([item_id])[item_id]
            assert (filters.listed is None or filters.listed[row]) == (not delisted)
    await store.close()
    return {
        "items": n_items,
        "delist_ms": _summary(delist, 1000),
        "undelist_ms": _summary(undelist, 1000),
        "first_filter_after_ms": _summary(first_filter, 1000),
    }


async def measure_upserts(model: Path, scratch: Path, n_items: int) -> dict[str, Any]:
    """Seconds from the call until a search has found the added item by its title."""
    path = write_catalogue(model, scratch / "growing", titles(n_items, SEED))
    async with _serving(path, scratch) as service:
        seconds = []
        for number in range(REPEATS + 1):
            title = f"zanzibar{number} quagga{number}"
            item = {
                "item_id": f"new-{number}",
                "title": title,
                "attributes": {"price": 1.0, "in_stock": True},
            }
            started = time.perf_counter()
            await service.catalogue.change(methodcaller("upserted", [item]))
            answer = await _search(service, title)
            seconds.append(time.perf_counter() - started)
            assert service.catalogue.snapshot(VARIANT).epoch.id == answer.epoch
            known = service.catalogue.snapshot(VARIANT).epoch.catalogue.rows_of([f"new-{number}"])
            assert known == {f"new-{number}": n_items + number}
    return {"items": n_items, "first_s": round(seconds[0], 4), "then_s": _summary(seconds[1:], 1)}


async def measure_swaps(model: Path, scratch: Path, n_searches: int, n_swaps: int) -> dict[str, Any]:
    """Search without a pause while bundles are swapped; hold each answer against a quiet one of its epoch."""
    paths = [
        write_catalogue(model, scratch / f"swapped-{seed}", titles(SWAPPED_ITEMS, seed))
        for seed in range(CATALOGUES)
    ]
    queries = [" ".join(title.split()[:3]) for title in titles(SWAPPED_ITEMS, 0)[:QUERIES]]
    async with _serving(paths[0], scratch) as service:
        quiet: dict[str, list[SearchResponse]] = {}
        for path in [*paths, *paths]:  # twice, so that what is made once is there before memory is measured
            await service.catalogue.change(methodcaller("loaded", VARIANT, path))
            answers = [await _search(service, query) for query in queries]
            quiet[answers[0].epoch] = answers
        before = _settled_bytes()
        numbers = itertools.count()
        checks: list[bool] = []
        latencies: list[float] = []
        swap_seconds = []

        async def client() -> None:
            while (number := next(numbers)) < n_searches:
                started = time.perf_counter()
                answer = await _search(service, queries[number % QUERIES])
                latencies.append(time.perf_counter() - started)
                checks.append(_agree(answer, quiet[answer.epoch][number % QUERIES]))

        async def swapper() -> None:
            for number in range(n_swaps):
                while len(checks) < (number + 1) * n_searches // (n_swaps + 1):
                    await asyncio.sleep(0.001)
                started = time.perf_counter()
                path = paths[number % CATALOGUES]
                await service.catalogue.change(methodcaller("loaded", VARIANT, path))
                swap_seconds.append(time.perf_counter() - started)

        await asyncio.gather(swapper(), *(client() for _ in range(CLIENTS)))
        peak, after = peak_bytes(), _settled_bytes()
    return {
        "searches": len(checks),
        "swaps": len(swap_seconds),
        "wrong": checks.count(False),
        "swap_s": _summary(swap_seconds, 1),
        "search_ms": _summary(latencies, 1000),
        "memory_before_bytes": before,
        "memory_peak_bytes": peak,
        "memory_after_bytes": after,
    }


@asynccontextmanager
async def _serving(path: Path, scratch: Path) -> AsyncIterator[Service]:
    async with start(_settings(path, scratch), Metrics(), Tracing(None)) as service:
        yield service


def _settings(path: Path, scratch: Path) -> ServiceSettings:
    return ServiceSettings(
        bundles=(BundleSource(VARIANT, path),),
        event_log=scratch / "events",
        redis_url=None,
        workers=1,
        timeout_ms=30_000,
        provider="cpu",
        result_cache=0,  # every search shall search
    )


async def _search(service: Service, query: str) -> SearchResponse:
    return await service.retriever.search(SearchRequest(query=query), Caller(None, "bench"), "bench")


def _agree(answer: SearchResponse, expected: SearchResponse) -> bool:
    """Whether both name the same items; those of equal scores may change places, for batches round apart."""
    ours, theirs = ([item.score for item in each.items] for each in (answer, expected))
    known = {item.item_id: (item.title, item.sid) for item in expected.items}
    lowest = min(theirs, default=0.0)
    return (
        len(ours) == len(theirs)
        and np.allclose(ours, theirs, atol=1e-4)
        and all(
            known.get(item.item_id) == (item.title, item.sid) or abs(item.score - lowest) < 1e-4
            for item in answer.items
        )
        and not answer.degraded
    )


def _settled_bytes() -> int:
    """Resident memory when all that can be given back was."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return restart_peak()


def _summary(seconds: Sequence[float], times: float) -> dict[str, float]:
    values = [times * each for each in seconds]
    return {"median": round(statistics.median(values), 3), "max": round(max(values), 3)}


def _print(made: dict[str, Any], console: Console) -> None:
    delist, upsert, swap = made["delist"], made["upsert"], made["swap"]
    table = Table(box=None, header_style="dim")
    for heading in ("", "median", "max"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, unit, figures in (
        (f"delist among {delist['items']:,}", "ms", delist["delist_ms"]),
        ("undelist", "ms", delist["undelist_ms"]),
        ("a filter's first mask after it", "ms", delist["first_filter_after_ms"]),
        (f"add to {upsert['items']:,} until found", "s", upsert["then_s"]),
        ("swap", "s", swap["swap_s"]),
        ("search meanwhile", "ms", swap["search_ms"]),
    ):
        table.add_row(name, f"{figures['median']:.3g} {unit}", f"{figures['max']:.3g} {unit}")
    console.print(table)
    before, after = swap["memory_before_bytes"], swap["memory_after_bytes"]
    console.print(
        f"the first item added: {upsert['first_s']:.3g} s",
        f"{swap['wrong']} of {swap['searches']:,} answers wrong across {swap['swaps']} swaps",
        f"memory before and after: {before / 2**20:,.0f} and {after / 2**20:,.0f} MiB",
        sep="\n",
    )
