"""``radsearch bench decode``."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.decode import filters, gpu, scale, speed, trie_speed
from benchmarks.decode.cell import Pace, torch_threads
from benchmarks.decode.exactness import fuzz
from benchmarks.decode.neighbours import watch_others
from benchmarks.decode.setup import Shape
from benchmarks.decode.speed import SPEEDUPS, THREADS, SpeedSettings
from benchmarks.decode.trie_speed import TrieSettings
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import RUNTIMES, record
from benchmarks.rounds import Report
from training.distributed import joined_world

BUSY = 0.1  # cores of others from which on figures are in doubt


@dataclass(frozen=True)
class DecodeSettings:
    """What is measured.

    Attributes:
        speed: of whole searches.
        trie: of the trie step alone.
        filtered_sids: that exist where filters are measured.
        filter_rounds: of filtered searches, on the first of those decoders.
        exact_cases: random searches that are judged.
        filtered_batches: the same, of filtered searches alone.
        largest_n_sids: of the trie that is built.
    """

    speed: SpeedSettings
    trie: TrieSettings
    filtered_sids: int
    filter_rounds: int
    exact_cases: int
    filtered_batches: int
    largest_n_sids: int


QUICK = DecodeSettings(
    SpeedSettings(Pace(rounds=3, turn_s=0.3)),
    TrieSettings(Pace(rounds=5, turn_s=0.04)),
    filtered_sids=1_000_000,
    filter_rounds=15,
    exact_cases=2_000,
    filtered_batches=10,
    largest_n_sids=10_000_000,
)
FULL = DecodeSettings(
    SpeedSettings(
        Pace(rounds=5, turn_s=0.5), (Shape(), Shape(d_model=128, n_layers=2), Shape(d_model=512, n_layers=8))
    ),
    TrieSettings(Pace(rounds=9, turn_s=0.1)),
    filtered_sids=1_000_000,
    filter_rounds=41,
    exact_cases=20_000,
    filtered_batches=50,
    largest_n_sids=10_000_000,
)


def measure(settings: DecodeSettings, seed: int, device: torch.device, report: Report) -> dict[str, Any]:
    """Measure all parts; each part's figures stand beside its details.

    "busy_elsewhere" is how many cores other processes kept busy meanwhile: torch, whose threads wait for one
    another often, loses more by them than the graph, so what a busy machine says flatters the graph.

    Raises:
        DecodeError: if contenders disagree.
    """
    others = watch_others()
    report("Exactness")
    exactness = fuzz(settings.exact_cases, seed, report)
    shape = settings.speed.shapes[0]
    return {
        **speed.measure(settings.speed, seed, device, report),
        **trie_speed.measure(settings.trie, seed, device, report),
        "exact_cases": exactness["exact_cases"],
        "exact_failures": exactness["exact_failures"],
        "exactness": exactness,
        "filters": filters.measure(
            settings.filtered_sids,
            seed,
            report,
            shape.codebooks,
            shape.d_model,
            shape.n_layers,
            settings.speed.beam_widths,
            settings.filtered_batches,
            settings.filter_rounds,
        ),
        "scale": scale.measure(settings.largest_n_sids, seed, report),
        "busy_elsewhere": others(),
    }


def decode(
    quick: Annotated[
        bool, typer.Option("--quick", help="The main decoder only, in minutes; without it also two others.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, SIDs and prompts.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "cpu",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure the search in the exported graph, and judge its answers by brute force.

    Beside it, in turns and with the same weights, SIDs and prompts: transformers' generate, the same search
    in eager torch, and, for the trie step alone, STATIC. On a GPU: the graph as it is served there, the same
    search in torch and STATIC, both as they are and as CUDA graphs, and the time that reading the weights
    takes, all over a million SIDs.

    Example: radsearch bench decode --quick --out benchmarks/results/decode.json
    """
    with (
        joined_world(device) as world,
        torch_threads(THREADS),
        Console(stderr=True).status("") as status,
    ):
        if world.device.type == "cuda":
            gpu.require_cuda()
            on_gpu = replace(gpu.ON_GPU, shapes=gpu.ON_GPU.shapes[:1]) if quick else gpu.ON_GPU
            figures = gpu.measure(on_gpu, seed, world.device, status.update)
        else:
            figures = measure(QUICK if quick else FULL, seed, world.device, status.update)
        packages = (RUNTIMES[world.device.type], "transformers")
        result = record("decode", world.device, [seed], figures, packages)
    deliver(result, out, as_json, _print)


def _print(result: dict[str, Any], console: Console) -> None:
    names = list(dict.fromkeys(name for row in result["decode"] for name in row["milliseconds"]))
    floor = "times_floor" in result
    table = _table("decoder", "beams", "batch", *(f"{name}, ms" for name in names), *(["floor, ms"] * floor))
    for row in result["decode"]:
        least = [f"{row['floor_ms']:,.2f}"] if floor else []
        table.add_row(
            row["shape"], str(row["beam_width"]), str(row["batch_size"]), *_times(row, names), *least
        )
    console.print(table)
    for figure in (*SPEEDUPS, *gpu.FIGURES):
        if figure in result:
            console.print(f"{figure}: {result[figure]:.2f}")
    _print_trie(result, console)
    if "scale" in result:
        _print_parts(result, console)


def _print_trie(result: dict[str, Any], console: Console) -> None:
    names = list(result["trie"][0]["milliseconds"])
    table = _table("codes", "SIDs", "skew", "beams", "batch", *(f"{name}, ms" for name in names), "ratio")
    for row in result["trie"]:
        shape = (row["codebook"], row["n_sids"], row["skew"], row["beam_width"], row["batch_size"])
        table.add_row(*map(str, shape), *_times(row, names), f"{row['ratio']:.2f}")
    console.print(table)


def _print_parts(result: dict[str, Any], console: Console) -> None:
    """What is measured beside searches and trie steps, on a CPU."""
    for figure in ("trie_vs_static", "trie_vs_static_as_advised"):
        console.print(f"{figure}: {result[figure]:.2f}")
    console.print(f"exact: {result['exact_cases']:,} cases, {result['exact_failures']:,} failures")
    console.print(f"filters add {result['filters']['filter_extra']:.1%} to a search at most")
    built = result["scale"]
    console.print(
        f"{built['n_sids']:,} SIDs: trie built in {built['build_s']:.1f} s with "
        f"{built['peak_bytes'] / 2**20:,.0f} MB; it has {built['device_bytes_per_sid']:.1f} bytes a SID"
    )
    if (result["busy_elsewhere"] or 0) > BUSY:
        console.print(
            f"[yellow]other processes kept {result['busy_elsewhere']:.1f} cores busy, which slows torch more "
            "than the graph; measure on a quiet machine[/yellow]"
        )


def _table(*headers: str) -> Table:
    table = Table(box=None, header_style="dim")
    for header in headers:
        table.add_column(header, justify="right")
    return table


def _times(row: dict[str, Any], names: Iterable[str]) -> list[str]:
    return [f"{row['milliseconds'][name]:,.2f}" if name in row["milliseconds"] else "" for name in names]
