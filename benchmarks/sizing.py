"""``radsearch bench sizing``: what a catalogue and a rate of searches take, from what was measured.

The time of a search on a core is fitted to the results of ``radsearch bench decode``; memory, Redis and
network are those per item and per search of ``radsearch bench scale``. docs/scale.md explains the formulas.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.decode.setup import Shape
from benchmarks.output import AsJson, Out, deliver
from sid import RadsearchError

RESULTS = Path(__file__).parent / "results"
DECODE, SCALE = RESULTS / "decode-cpu.json", RESULTS / "scale.json"
FULL_BATCH = 8  # from here on a larger batch makes a search no cheaper


class SizingError(RadsearchError):
    """Results that nothing can be worked out from."""


class Precision(StrEnum):
    """Of the graph; the name that the results of ``bench decode`` have for it."""

    FP32 = "ours"
    INT8 = "int8"


@dataclass(frozen=True)
class Work:
    """What one search computes.

    Attributes:
        gflop: floating-point operations of the matrix products, 10⁹.
        melements: numbers that norms, activations and rotations write per pass over them, 10⁶.
    """

    gflop: float
    melements: float

    @classmethod
    def of(cls, shape: Shape, beam_width: int) -> "Work":
        """Count: T positions of the prompt, then K beams at each level but the first, which [SEP] decides."""
        config = shape.config()
        beams = beam_width * (config.levels - 1)
        positions = shape.prompt_tokens + beams
        products = 2 * config.n_layers * layer_weights(shape) * positions
        attended = shape.prompt_tokens**2 + beams * (shape.prompt_tokens + 1)
        attention = 4 * config.n_layers * config.n_heads * config.head_dim * attended
        heads = 2 * config.d_model * (config.codebook_sizes[0] + beam_width * sum(config.codebook_sizes[1:]))
        written = config.n_layers * config.d_model * positions
        return cls((products + attention + heads) / 1e9, written / 1e6)


@dataclass(frozen=True)
class CoreTime:
    """Milliseconds of one core: ``per_gflop`` · GFLOP + ``per_melement`` · melements.

    Attributes:
        per_gflop, per_melement: milliseconds.
        worst: largest relative error over what it was fitted to.
    """

    per_gflop: float
    per_melement: float
    worst: float

    @classmethod
    def fit(cls, cells: Sequence[Mapping[str, Any]], cores: int, precision: Precision) -> "CoreTime":
        """Fit to full batches by least squares of the relative errors.

        Args:
            cells: of ``bench decode``.
            cores: that worked on each batch.
            precision: of the graph.

        Raises:
            SizingError: if there are fewer than two full batches.
        """
        full = [cell for cell in cells if cell["batch_size"] >= FULL_BATCH]
        if len(full) < 2:
            raise SizingError("the results of 'radsearch bench decode' have fewer than two full batches")
        work = [Work.of(shape_of(cell["shape"]), cell["beam_width"]) for cell in full]
        spent = np.array([cores * cell["milliseconds"][precision] / cell["batch_size"] for cell in full])
        terms = np.array([[one.gflop, one.melements] for one in work]) / spent[:, None]
        found: NDArray[np.float64] = np.linalg.lstsq(terms, np.ones(len(spent)))[0]
        return cls(float(found[0]), float(found[1]), float(np.abs(terms @ found - 1).max()))

    def of(self, work: Work) -> float:
        """Milliseconds of one core for one search."""
        return self.per_gflop * work.gflop + self.per_melement * work.melements


@dataclass(frozen=True)
class PerItem:
    """What a catalogue costs, by ``bench scale``: everything grows with the items, a little does not.

    Attributes:
        service_bytes: of a process that serves it.
        redis_bytes: of an epoch in Redis.
        bundle_bytes: on the disk.
        build_bytes: the most that a step from files to a bundle holds.
        build_ms: of one machine's time for all steps but training, which goes by steps and not by items.
        start_ms: until a replica serves; its bundle is verified and loaded.
        fill_ms: until a new epoch is in Redis.
    """

    service_bytes: float
    redis_bytes: float
    bundle_bytes: float
    build_bytes: float
    build_ms: float
    start_ms: float
    fill_ms: float

    @classmethod
    def of(cls, scale: Mapping[str, Any]) -> "PerItem":
        """Divide by the items."""
        n = scale["items"]
        built = [step for step in scale["steps"] if step["name"] != "train"]
        return cls(
            scale["service_bytes"] / n,
            scale["redis_bytes"] / n,
            scale["bundle_bytes"] / n,
            scale["peak_bytes"] / n,
            1000 * sum(step["seconds"] for step in built) / n,
            1000 * scale["start_s"] / n,
            1000 * (scale["first_start_s"] - scale["start_s"]) / n,
        )


def sizing(
    items: Annotated[int, typer.Option(min=1, help="Items in the catalogue.")] = 100_000_000,
    rate: Annotated[float, typer.Option(min=0.0, help="Searches per second.")] = 10_000.0,
    shape: Annotated[str, typer.Option(help="Decoder: width x layers.")] = "256x4",
    beam_width: Annotated[int, typer.Option(min=1, help="K.")] = 128,
    codebook: Annotated[int, typer.Option(min=2, help="Codes on each of the three levels.")] = 1024,
    precision: Annotated[str, typer.Option(help="fp32 or int8.")] = "int8",
    cores: Annotated[int, typer.Option(min=1, help="Of a machine.")] = 32,
    memory_gb: Annotated[float, typer.Option(min=1.0, help="Of a machine.")] = 128.0,
    used: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of cores and memory to plan with.")
    ] = 0.6,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Work out machines, memory, Redis and network from what was measured.

    Example: radsearch bench sizing --items 100000000 --rate 10000 --shape 256x4 --beam-width 128
    """
    try:
        chosen = Precision[precision.upper()]
    except KeyError as error:
        raise SizingError(f"--precision {precision!r} is neither fp32 nor int8") from error
    decode, scale = (orjson.loads(path.read_bytes()) for path in (DECODE, SCALE))
    core_times = {one: CoreTime.fit(decode["decode"], decode["device"]["cores"], one) for one in Precision}
    measured = scale["model"]
    of_measured = Work.of(shape_of(measured["shape"], measured["codebook"]), measured["beam_width"])
    work = Work.of(shape_of(shape, codebook), beam_width)
    core_ms = {
        "decode": core_times[chosen].of(work),
        "around": scale["per_search"]["service_cpu_ms"] - core_times[Precision.FP32].of(of_measured),
    }
    machine = Machine(cores, memory_gb * 1e9, used)
    result = {
        "asked": {
            "items": items,
            "rate": rate,
            "shape": shape,
            "beam_width": beam_width,
            "precision": precision,
        },
        "machine": vars(machine),
        "work": vars(work),
        "fit": vars(core_times[chosen]),
        "core_ms": core_ms,
        **needed(items, rate, core_ms, scale, machine),
    }
    deliver(result, out, as_json, _show)


@dataclass(frozen=True)
class Machine:
    """What is planned with.

    Attributes:
        cores, memory_bytes: that it has.
        used: share of both that is used; the rest is for peaks, and for a replica that is gone.
    """

    cores: int
    memory_bytes: float
    used: float


def needed(
    items: int, rate: float, core_ms: Mapping[str, float], scale: Mapping[str, Any], machine: Machine
) -> dict[str, Any]:
    """What it takes.

    Args:
        items: in the catalogue.
        rate: searches per second.
        core_ms: milliseconds of one core for a search, by what takes them.
        scale: results of ``bench scale``.
        machine: that replicas run on, one process each: each holds the catalogue once.
    """
    per_item, per_search = PerItem.of(scale), scale["per_search"]
    busy = rate / 1000 / machine.used  # cores per millisecond of a search
    cores = {name: busy * spent for name, spent in core_ms.items()}
    of_redis = per_search["redis_bytes_sent"] + per_search["redis_bytes_received"]
    return {
        "cores": cores,
        "replicas": math.ceil(sum(cores.values()) / machine.cores),
        "replica_gb": items * per_item.service_bytes / 1e9,
        "most_items": int(machine.used * machine.memory_bytes / per_item.service_bytes),
        "redis": {
            "gb": items * per_item.redis_bytes / 1e9,
            "cores": busy * per_search["redis_cpu_ms"],
            "gbit_s": 8e-9 * rate * of_redis,
        },
        "answers_gbit_s": 8e-9 * rate * per_search["answer_bytes"],
        "bundle_gb": items * per_item.bundle_bytes / 1e9,
        "build": {"hours": items * per_item.build_ms / 3.6e6, "gb": items * per_item.build_bytes / 1e9},
        "minutes": {
            "replica start": items * per_item.start_ms / 6e4,
            "new epoch to Redis": items * per_item.fill_ms / 6e4,
        },
    }


def shape_of(name: str, codebook: int = 1024) -> Shape:
    """Read "256x4".

    Raises:
        SizingError: if it is not of that form.
    """
    width, _, layers = name.partition("x")
    if not (width.isdecimal() and layers.isdecimal() and int(width) and int(layers)):
        raise SizingError(f"--shape {name!r} is not of the form 256x4, width x layers")
    return Shape(d_model=int(width), n_layers=int(layers), codebooks=(codebook,) * 3)


def layer_weights(shape: Shape) -> int:
    """Numbers in the matrices of one layer: q and o, k and v, and the three of SwiGLU."""
    config = shape.config()
    attention = 2 * config.d_model * config.head_dim * (config.n_heads + config.n_kv_heads)
    return attention + 3 * config.d_model * config.d_ff


def _show(result: dict[str, Any], console: Console) -> None:
    table = Table(box=None, show_header=False)
    for name, value in result.items():
        parts = value if isinstance(value, dict) else {"": value}
        table.add_row(name, "   ".join(f"{part} {_short(one)}".strip() for part, one in parts.items()))
    console.print(table)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
