"""``radsearch bench service``."""

import gc
import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.decode.gpu import require_cuda
from benchmarks.decode.neighbours import watch_others
from benchmarks.live_shop import Size, export_model, titles, write_scattered_catalogue
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import RUNTIMES, record
from benchmarks.rounds import Report
from benchmarks.serving.bare import BATCH_SIZES, BareEngine, Provider
from benchmarks.serving.http_load import Client, Load, LoneClient, search_request
from benchmarks.serving.lone import LoneSearches, one_by_one
from benchmarks.serving.server import Server, serving, serving_empty
from model_export.proven_graphs import Precision
from training.distributed import joined_world

SEED = 0
THREADS = 2  # with a batch each, in the service and in the bare engine
WORDS = 4  # of a query
GPU_CLIENTS = 32  # that make full load on a GPU


@dataclass(frozen=True)
class ServiceBench:
    """What is measured.

    Attributes:
        provider: that decodes.
        size: of the model; the widest beam is measured.
        small: the size of another model. What the service adds takes longer after a long decode, in which
            the processor's caches empty; and it decodes faster than one event loop answers.
        n_items: in the catalogue.
        warm_up_s: of full load before anything is measured: what a query costs is learned, and items that
            are often found are remembered, as in a service that has run for a while.
        rounds: turns of engine and service.
        searches: one after the other, per turn.
        paused_searches: the same, each after ``pause_s``.
        pause_s: as long as a decode of ``size`` takes on a CPU.
        turn_s: of full load, per turn.
        clients: that make full load.
        overload_s: of 80% load, and of overload.
        small_overload_s: the same of the small model.
        max_queue_ms: of the service, see its settings.
    """

    provider: Provider = "cpu"
    size: Size = Size(d_model=256, n_layers=4, beam_widths=(128,))  # noqa: RUF009 — it is frozen
    small: Size = Size(d_model=64, n_layers=2, beam_widths=(32,))  # noqa: RUF009
    n_items: int = 50_000
    warm_up_s: float = 30.0
    rounds: int = 5
    searches: int = 200
    paused_searches: int = 100
    pause_s: float = 0.01
    turn_s: float = 6.0
    clients: int = 12
    overload_s: float = 60.0
    small_overload_s: float = 20.0
    max_queue_ms: float = 80.0


FULL = ServiceBench()
QUICK = ServiceBench(
    warm_up_s=10.0,
    rounds=3,
    searches=100,
    paused_searches=50,
    turn_s=3.0,
    overload_s=10.0,
    small_overload_s=10.0,
)


def service(
    quick: Annotated[bool, typer.Option("--quick", help="Shorter turns, 10 s of overload for 60.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure what the service adds to the bare engine, and what it does under twice its capacity.

    Beside them stands an empty application: the same web server, a thread that decodes, and nothing else.
    A model with random weights is exported and served; results are not cached, and every query is new.

    Example: radsearch bench service --json
    """
    with (
        joined_world(device) as world,
        tempfile.TemporaryDirectory(prefix="radsearch-bench-") as directory,
        Console(stderr=True).status("Exporting a model") as status,
        _without_pauses(),
    ):
        if world.device.type == "cuda":
            require_cuda()
        settings = _on(world.device.type, QUICK if quick else FULL)
        others = watch_others()
        figures = measure(settings, Path(directory), status.update)
        figures["busy_elsewhere"] = others()
        packages = (RUNTIMES[world.device.type], "fastapi", "uvicorn")
        made = record("service", world.device, [SEED], figures, packages)
    deliver(made, out, as_json, _print)


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Collect no garbage meanwhile: the pauses of this process would be told as the service's."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _on(device: str, settings: ServiceBench) -> ServiceBench:
    """The same on a GPU: its graphs are in float16, and its batches large."""
    if device != "cuda":
        return settings
    size, small = (replace(size, precisions=(Precision.FP16,)) for size in (settings.size, settings.small))
    return replace(settings, provider="cuda", size=size, small=small, clients=GPU_CLIENTS)


def measure(settings: ServiceBench, scratch: Path, report: Report) -> dict[str, Any]:
    """Export, serve and measure; a service runs throughout, engine and service take turns."""
    items = titles(settings.n_items, SEED)
    texts = _queries(items)
    main = _measured(settings, settings.size, items, texts, scratch / "model", report)
    shorter = replace(settings, overload_s=settings.small_overload_s)
    small = _measured(shorter, settings.small, items, texts, scratch / "small", report)
    return {
        "n_items": settings.n_items,
        "warm_up_s": settings.warm_up_s,
        "overhead_p50_ms": main["alone"]["overhead_p50_ms"],
        "saturation_share": main["saturation"]["saturation_share"],
        "overload_goodput_share": main["overload"]["overload_goodput_share"],
        **main,
        "small": small,
    }


def _measured(
    settings: ServiceBench,
    size: Size,
    items: Sequence[str],
    texts: Iterator[str],
    scratch: Path,
    report: Report,
) -> dict[str, Any]:
    """The figures of one model."""
    with _bench(settings, size, items, scratch) as bench:
        alone = _alone(settings, bench, texts, report)
        loads = uvloop.run(_under_load(settings, bench, texts, report))
    return {**_described(size), "alone": alone, **loads}


def _described(size: Size) -> dict[str, Any]:
    return {"model": f"{size.d_model}x{size.n_layers}", "beam_width": size.beam_widths[-1]}


@dataclass(frozen=True)
class _Bench:
    """A model, by itself and served.

    Attributes:
        bundle: of the model; beam_width: K.
        scratch: directory for what servers write.
        bare: its engine.
        server: the service that runs it.
    """

    bundle: Path
    beam_width: int
    scratch: Path
    bare: BareEngine
    server: Server


@contextmanager
def _bench(settings: ServiceBench, size: Size, items: Sequence[str], scratch: Path) -> Iterator[_Bench]:
    """Export a model and serve it."""
    scratch.mkdir()
    bundle = write_scattered_catalogue(export_model(scratch, SEED, size), scratch / "served", items, SEED)
    beam_width = size.beam_widths[-1]
    options = {
        "workers": THREADS,
        "result_cache": 0,
        "max_queue_ms": settings.max_queue_ms,
        "provider": settings.provider,
    }
    with serving(bundle, scratch, options) as server:
        bare = BareEngine(bundle, beam_width, THREADS, settings.provider)
        yield _Bench(bundle, beam_width, scratch, bare, server)


async def _under_load(
    settings: ServiceBench, bench: _Bench, texts: Iterator[str], report: Report
) -> dict[str, Any]:
    """Many searches at once, of a service that is warm."""
    client = Client(bench.server.port)
    requests = map(search_request, texts)
    full = await _saturation(settings, bench.bare, client, texts, requests, report)
    over = await _overload(settings, full["service_rate"], client, bench.server, requests, report)
    await client.close()
    return {"saturation": full, "overload": over}


async def _warm_up(settings: ServiceBench, server: Server, texts: Iterator[str]) -> None:
    client = Client(server.port)
    await client.closed_loop(map(search_request, texts), settings.clients, settings.warm_up_s)
    await client.close()


def _alone(settings: ServiceBench, bench: _Bench, texts: Iterator[str], report: Report) -> dict[str, Any]:
    """One search at a time, once the service is warm: right after another, and after a pause.

    A core that rests for milliseconds may find its caches emptied, by saving power or by other tenants. That
    slows the engine, too; what it costs in a pause, it costs an event loop that waits for a decode.
    """
    report("Warming up")
    uvloop.run(_warm_up(settings, bench.server, texts))
    with (
        serving_empty(bench.bundle, bench.scratch, bench.beam_width, settings.provider) as bystander,
        closing(LoneClient(bystander.port)) as of_empty,
        closing(LoneClient(bench.server.port)) as of_service,
    ):
        one_by_one(of_empty, texts, settings.searches)  # its first ones are slow
        at_once, paused = (LoneSearches(bench.bare, of_empty, of_service) for _ in range(2))
        for lone, what, n, pause_s in (
            (at_once, "One search at a time", settings.searches, 0.0),
            (paused, "Each after a pause", settings.paused_searches, settings.pause_s),
        ):
            for turn in range(settings.rounds):
                report(f"{what}, turn {turn + 1} of {settings.rounds}")
                lone.take_turns(texts, n, pause_s)
    after_pause = {"pause_ms": 1000 * settings.pause_s, **paused.p50_ms()}
    return {**at_once.p50_ms(), "stages_p50_ms": at_once.stages_p50_ms(), "after_pause": after_pause}


async def _saturation(
    settings: ServiceBench,
    bare: BareEngine,
    client: Client,
    texts: Iterator[str],
    requests: Iterator[bytes],
    report: Report,
) -> dict[str, Any]:
    """As many searches as there can be."""
    engine: dict[int, list[float]] = {size: [] for size in BATCH_SIZES}
    served = []
    for turn in range(settings.rounds):
        report(f"Full load, turn {turn + 1} of {settings.rounds}")
        for size in BATCH_SIZES:
            engine[size].append(bare.rate(texts, size, settings.turn_s / len(BATCH_SIZES)))
        load = await client.closed_loop(requests, settings.clients, settings.turn_s)
        served.append(load.rate)
    by_size = {size: statistics.median(rates) for size, rates in engine.items()}
    best, rate = max(by_size.values()), statistics.median(served)
    return {
        "engine_rate_by_batch_size": {str(size): rate for size, rate in by_size.items()},
        "engine_rate": best,
        "service_rate": rate,
        "saturation_share": rate / best,
    }


async def _overload(
    settings: ServiceBench,
    capacity: float,
    client: Client,
    server: Server,
    requests: Iterator[bytes],
    report: Report,
) -> dict[str, Any]:
    """Requests at 80% of the capacity, and at twice of it.

    A shared machine's speed drifts within minutes, so what is answered under overload is compared with what
    full load gives just before and just after it.
    """

    async def full_load() -> float:
        return (await client.closed_loop(requests, settings.clients, settings.turn_s)).rate

    report("80% of the capacity")
    calm = await client.open_loop(requests, 0.8 * capacity, settings.overload_s, SEED)
    before, rate_before = server.resident_bytes, await full_load()
    report("Twice the capacity")
    over = await client.open_loop(requests, 2 * capacity, settings.overload_s, SEED)
    around = (rate_before + await full_load()) / 2
    calm_ms, over_ms = _percentiles(calm), _percentiles(over)
    return {
        "capacity": capacity,
        "capacity_around": around,
        "seconds": settings.overload_s,
        "max_queue_ms": settings.max_queue_ms,
        "calm_ms": calm_ms,
        "calm_refused": calm.count(429),
        "accepted_ms": over_ms,
        "p99_ratio": over_ms["p99"] / calm_ms["p99"],
        "overload_goodput_share": over.rate / around,
        "rate": over.rate,
        "accepted": over.count(200),
        "refused": over.count(429),
        "failed": len(over.replies) - over.count(200) - over.count(429),
        "refused_ms": _percentiles(over, 429) if over.count(429) else None,
        "resident_growth_bytes": server.resident_bytes - before,
    }


def _percentiles(load: Load, status: int = 200) -> dict[str, float]:
    seconds = load.latencies(status)
    return {f"p{p}": 1000 * float(np.quantile(seconds, p / 100)) for p in (50, 95, 99)}


def _queries(titles: Sequence[str]) -> Iterator[str]:
    """How titles begin, each with a number, so that no two are alike."""
    for n in itertools.count():
        words = titles[n * 7919 % len(titles)].split()[:WORDS]
        yield " ".join([*words, str(n)])


def _print(result: dict[str, Any], console: Console) -> None:
    models = (result, result["small"])
    table = Table(box=None, header_style="dim")
    for header in ("", "engine", "empty", "service", ""):
        table.add_column(header, justify="right")
    for model in models:
        alone = model["alone"]
        pause = f"one after {alone['after_pause']['pause_ms']:.0f} ms of rest, p50 ms"
        for what, lone in (("one at a time, p50 ms", alone), (pause, alone["after_pause"])):
            table.add_row(
                f"{model['model']}, {what}",
                f"{lone['engine_p50_ms']:.2f}",
                f"{lone['empty_p50_ms']:.2f}",
                f"{lone['service_p50_ms']:.2f}",
                f"+{lone['overhead_p50_ms']:.2f}",
            )
    for model in models:
        full = model["saturation"]
        table.add_row(
            f"{model['model']}, full load, queries/s",
            f"{full['engine_rate']:.1f}",
            "",
            f"{full['service_rate']:.1f}",
            f"{full['saturation_share']:.0%}",
        )
    console.print(table)
    for model in models:
        _print_overload(model["model"], model["overload"], console)


def _print_overload(model: str, over: dict[str, Any], console: Console) -> None:
    console.print(
        f"{model}, twice the capacity, {over['seconds']:.0f} s: goodput {over['overload_goodput_share']:.0%} "
        f"of it, p99 {over['accepted_ms']['p99']:.0f} ms, {over['p99_ratio']:.1f} times that at 80% load; "
        f"{over['failed']} failed, memory {over['resident_growth_bytes'] / 2**20:+.1f} MB"
    )
    if over["refused_ms"] is not None:
        console.print(f"{over['refused']:,} refused, p99 {over['refused_ms']['p99']:.1f} ms")
