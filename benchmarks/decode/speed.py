"""Whole searches, prompt to SIDs: the graph, its search in eager torch, and transformers' ``generate``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.decode.cell import Pace, milliseconds
from benchmarks.decode.eager import eager_search
from benchmarks.decode.generate import Generate
from benchmarks.decode.setup import Setup, Shape, for_graph
from benchmarks.rounds import Report
from model_export.calibration import calibrate
from sid import RadsearchError, SidTable
from training.model import Prompts
from training.search import TrieTree

LARGEST_DIFFERENCE = 1e-3  # of a log-probability between contenders that compute the same
THREADS = 2  # of torch and of onnxruntime
OURS, INT8, EAGER, GENERATE = "ours", "int8", "eager", "generate"
CALIBRATED_BY = 4  # prompts


class DecodeError(RadsearchError):
    """Contenders whose answers should agree and do not."""


class Found(NamedTuple):
    """What a search found.

    Attributes:
        sids: int [B, K, L].
        log_probs: float32 [B, K], or None if they mean something else than the decoder's.
    """

    sids: NDArray[np.integer]
    log_probs: NDArray[np.float32] | None


Search = Callable[[Prompts], Found]


def ours(setup: Setup, beam_width: int) -> Search:
    """The exported graph under onnxruntime."""
    session = setup.graph_session(beam_width, THREADS)
    alive = np.ones((1, setup.trie.n_nodes), dtype=bool)

    def search(prompts: Prompts) -> Found:
        answers = session.search(for_graph(prompts), setup.trie, alive)
        return Found(answers.sids, answers.log_probs)

    return search


def int8(setup: Setup, beam_width: int) -> Search:
    """The exported graph whose layers multiply in int8; its scores are near the decoder's, not the same."""
    prompts = for_graph(setup.prompts(CALIBRATED_BY))
    ranges = calibrate(setup.decoder, setup.graph_session(beam_width, THREADS), prompts, setup.trie)
    session = setup.graph_session(beam_width, THREADS, ranges)
    alive = np.ones((1, setup.trie.n_nodes), dtype=bool)

    def search(prompts: Prompts) -> Found:
        return Found(session.search(for_graph(prompts), setup.trie, alive).sids, None)

    return search


def eager(setup: Setup, beam_width: int) -> Search:
    """The same search in eager torch."""
    tree = TrieTree.from_trie(setup.trie)

    def search(prompts: Prompts) -> Found:
        beams = eager_search(setup.decoder, prompts, tree, beam_width)
        return Found(beams.sids.numpy(), beams.log_probs.numpy())

    return search


def generate(setup: Setup, beam_width: int) -> Search:
    """Transformers' beam search."""
    model = Generate(setup.decoder, setup.table, beam_width)

    def search(prompts: Prompts) -> Found:
        return Found(model.search(prompts).numpy(), None)

    return search


@dataclass(frozen=True)
class Contender:
    """Somebody who searches.

    Attributes:
        make: gives the search over a setup at a beam width.
        batch_sizes: at which it is measured.
    """

    make: Callable[[Setup, int], Search]
    batch_sizes: tuple[int, ...]


CONTENDERS: dict[str, Contender] = {
    OURS: Contender(ours, (1, 8, 32)),
    INT8: Contender(int8, (1, 8, 32)),
    EAGER: Contender(eager, (1, 8, 32)),
    GENERATE: Contender(generate, (8,)),
}

# Which figure compares whom: name → the slower, the faster, batch size, beam width.
SPEEDUPS: dict[str, tuple[str, str, int, int]] = {
    "speedup_vs_generate_k32": (GENERATE, OURS, 8, 32),
    "speedup_vs_generate_k128": (GENERATE, OURS, 8, 128),
    "speedup_vs_eager_b1": (EAGER, OURS, 1, 32),
    "speedup_vs_eager_b32": (EAGER, OURS, 32, 32),
    "speedup_vs_eager_b1_k128": (EAGER, OURS, 1, 128),
    "speedup_vs_eager_b32_k128": (EAGER, OURS, 32, 128),
    "speedup_of_int8_b1": (OURS, INT8, 1, 32),
    "speedup_of_int8_b32": (OURS, INT8, 32, 32),
    "speedup_of_int8_vs_generate_k32": (GENERATE, INT8, 8, 32),
    "speedup_of_int8_vs_generate_k128": (GENERATE, INT8, 8, 128),
}


@dataclass(frozen=True)
class SpeedSettings:
    """What is measured.

    Attributes:
        pace: of searches.
        shapes: of decoders; the figures are those of the first.
        beam_widths: K.
    """

    pace: Pace
    shapes: tuple[Shape, ...] = (Shape(),)
    beam_widths: tuple[int, ...] = (32, 128)


def measure(settings: SpeedSettings, seed: int, device: torch.device, report: Report) -> dict[str, Any]:
    """Time all contenders in turns, after their answers to the same prompts have been compared.

    Returns:
        The figures of ``SPEEDUPS``, and "decode": a row per shape, beam width and batch size with the
        milliseconds of each contender.

    Raises:
        DecodeError: if a contender finds a SID that does not exist, or scores differ.
    """
    rows: list[dict[str, Any]] = []
    for shape in settings.shapes:
        report(f"Making decoder {shape.name}")
        setup = Setup.make(shape, seed)
        for beam_width in settings.beam_widths:
            searches = {name: contender.make(setup, beam_width) for name, contender in CONTENDERS.items()}
            for batch_size in sorted({size for one in CONTENDERS.values() for size in one.batch_sizes}):
                here = {
                    name: run for name, run in searches.items() if batch_size in CONTENDERS[name].batch_sizes
                }
                rows.append(time_batch(setup, beam_width, batch_size, here, settings.pace, device, report))
    return {**_speedups(rows, settings.shapes[0]), "decode": rows}


def time_batch(
    setup: Setup,
    beam_width: int,
    batch_size: int,
    searches: Mapping[str, Search],
    pace: Pace,
    device: torch.device,
    report: Report,
) -> dict[str, Any]:
    """Time searches in turns, after their answers to the same prompts have been compared.

    Args:
        setup: what is searched.
        beam_width: K.
        batch_size: B.
        searches: by name.
        pace: how long to measure.
        device: where they run.
        report: told what goes on.

    Returns:
        One row of "decode".

    Raises:
        DecodeError: see :func:`compare`.
    """
    prompts = setup.prompts(batch_size)
    compare({name: run(prompts) for name, run in searches.items()}, setup.table)
    cell = f"decoder {setup.shape.name}, batch {batch_size}, beam width {beam_width}"
    runs = {name: partial(run, prompts) for name, run in searches.items()}
    times = milliseconds(runs, pace, device, lambda text: report(f"{cell}: {text}"))
    return {
        "shape": setup.shape.name,
        "beam_width": beam_width,
        "batch_size": batch_size,
        "milliseconds": times,
    }


def compare(found: Mapping[str, Found], table: SidTable) -> None:
    """Check what contenders found for the same prompts.

    Raises:
        DecodeError: if a SID does not exist, or log-probabilities of the decoder differ.
    """
    scores = {name: one.log_probs for name, one in found.items() if one.log_probs is not None}
    for name, one in found.items():
        filled = (one.sids >= 0).any(axis=-1)
        if (table.find(one.sids[filled]) < 0).any():
            raise DecodeError(f"{name} found a SID that does not exist")
    names = list(scores)
    for name in names[1:]:
        difference = float(np.abs(scores[name] - scores[names[0]]).max())
        if not difference <= LARGEST_DIFFERENCE:
            raise DecodeError(f"log-probabilities of {name} and {names[0]} differ by {difference:.1e}")


def _speedups(rows: list[dict[str, Any]], shape: Shape) -> dict[str, float]:
    """How many times as long the slower takes as the faster, for the figures that were measured."""
    times = {
        (row["batch_size"], row["beam_width"]): row["milliseconds"]
        for row in rows
        if row["shape"] == shape.name
    }
    return {
        figure: times[batch_size, beam_width][slower] / times[batch_size, beam_width][faster]
        for figure, (slower, faster, batch_size, beam_width) in SPEEDUPS.items()
        if {slower, faster} <= times.get((batch_size, beam_width), {}).keys()
    }
