"""``radsearch bench decode``."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.decode import filters, scale, speed, trie_speed
from benchmarks.decode.cell import Pace, torch_threads
from benchmarks.decode.exactness import fuzz
from benchmarks.decode.neighbours import watch_others
from benchmarks.decode.setup import Shape
from benchmarks.decode.speed import CONTENDERS, SPEEDUPS, THREADS, SpeedSettings
from benchmarks.decode.trie_speed import DENSE_LEVELS, TrieSettings
from benchmarks.output import AsJson, Out, deliver
from benchmarks.record import record
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
ON_GPU = SpeedSettings(
    Pace(rounds=5, turn_s=0.5),
    (
        Shape(n_sids=1_000_000),
        Shape(d_model=512, n_layers=8, n_sids=1_000_000),
        Shape(d_model=1024, n_layers=28, vocab_size=151_936, n_sids=1_000_000),
    ),
    (128,),
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
    in eager torch, and, for the trie step alone, STATIC. On a GPU: the graph as it is served there, and the
    search in eager torch, over a million SIDs.

    Example: radsearch bench decode --quick --out benchmarks/results/decode.json
    """
    with (
        joined_world(device) as world,
        torch_threads(THREADS),
        Console(stderr=True).status("") as status,
    ):
        figures = (
            speed.measure(ON_GPU, seed, world.device, status.update)
            if world.device.type == "cuda"
            else measure(QUICK if quick else FULL, seed, world.device, status.update)
        )
        result = record("decode", world.device, [seed], figures, ("onnxruntime", "transformers"))
    deliver(result, out, as_json, _print)


def _print(result: dict[str, Any], console: Console) -> None:
    table = _table("decoder", "beams", "batch", *(f"{name}, ms" for name in CONTENDERS))
    for row in result["decode"]:
        table.add_row(row["shape"], str(row["beam_width"]), str(row["batch_size"]), *_times(row, CONTENDERS))
    console.print(table)
    for figure in SPEEDUPS:
        if figure in result:
            console.print(f"{figure}: {result[figure]:.2f}")
    if "trie" in result:
        _print_parts(result, console)


def _print_parts(result: dict[str, Any], console: Console) -> None:
    """What is measured beside whole searches, on a CPU."""
    names = (speed.OURS, *DENSE_LEVELS)
    table = _table("codes", "SIDs", "skew", "beams", "batch", *(f"{name}, ms" for name in names), "ratio")
    for row in result["trie"]:
        shape = (row["codebook"], row["n_sids"], row["skew"], row["beam_width"], row["batch_size"])
        table.add_row(*map(str, shape), *_times(row, names), f"{row['ratio']:.2f}")
    console.print(table)
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
