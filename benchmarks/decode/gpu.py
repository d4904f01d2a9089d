"""``radsearch bench decode --device cuda``: the captured graph, the same search in torch, and their floor.

What a search on a GPU can cost at least is reading its weights: all layers once over the prompt and once per
level but the last, and every level's codebook. The floor is those bytes over the bandwidth of a copy.
"""

import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.decode import speed, trie_speed
from benchmarks.decode.captured import CapturedTrieStep, captured_search
from benchmarks.decode.cell import Pace, milliseconds
from benchmarks.decode.eager import eager_search
from benchmarks.decode.replay import Replay
from benchmarks.decode.setup import Setup, Shape, random_table
from benchmarks.decode.speed import EAGER, OURS, DecodeError, Found, Search
from benchmarks.decode.static import StaticIndex
from benchmarks.decode.trie_speed import DENSE_LEVELS, LEVELS, STATIC, random_logits
from benchmarks.rounds import Report, timed
from service.device import CPU, CUDA, Device, OwnedDevice
from sid import Trie
from training.model import Prompts
from training.search import TrieTree

TORCH_GRAPH = "torch graph"  # the eager search in float16, captured as a CUDA graph
CLOSE = 1e-2  # of log-probabilities in float16 and float32, relative where they are below −1
FIGURES = (  # the worst of all rows, but for the first
    "copy_gb_per_s",
    "speedup_vs_torch_graph",
    "times_floor",
    "fp16_agreement",
    "trie_vs_static_captured",
    "trie_ms",
)
BYTES_OF_HALF = 2
COPIES = 10  # timed together, so that beginning them costs next to nothing


@dataclass(frozen=True)
class GpuSettings:
    """What is measured.

    Attributes:
        pace: of searches and steps.
        shapes: of decoders.
        beam_width: K.
        batch_sizes: of searches and steps.
        codebook: codes of every level, of the trie step alone.
        n_sids: that exist there.
        skews: exponents of Zipf's law over the codes there; 0 is uniform.
        copied_bytes: to find the bandwidth.
    """

    pace: Pace
    shapes: tuple[Shape, ...]
    beam_width: int = 128
    batch_sizes: tuple[int, ...] = (1, 32)
    codebook: int = 1024
    n_sids: int = 1_000_000
    skews: tuple[float, ...] = (0.0, 1.1)
    copied_bytes: int = 2**30


ON_GPU = GpuSettings(
    Pace(rounds=5, turn_s=0.5),
    (
        Shape(vocab_size=8192, n_sids=1_000_000),  # 6 M parameters
        Shape(d_model=512, n_layers=8, vocab_size=8192, n_sids=1_000_000),  # 31 M
        Shape(d_model=1024, n_layers=28, head_dim=128, vocab_size=151_936, n_sids=1_000_000),  # Qwen3-0.6B
    ),
)


def require_cuda() -> None:
    """Say so before anything is made, if onnxruntime has no CUDA.

    Raises:
        DecodeError: if so.
    """
    if CUDA not in ort.get_available_providers():
        raise DecodeError(
            "this onnxruntime has no CUDA; install 'radsearch[gpu]' in place of 'radsearch[cpu]' "
            "or pass --device cpu"
        )


def measure(settings: GpuSettings, seed: int, device: torch.device, report: Report) -> dict[str, Any]:
    """Time all contenders in turns, after their answers have been compared.

    Returns:
        The figures of ``FIGURES``; "decode" and "trie" as on a CPU, a row of "decode" also with "parameters",
        "floor_ms", "times_floor" and "fp16_agreement".

    Raises:
        DecodeError: if a contender finds a SID that does not exist, or scores of trie steps differ.
    """
    bandwidth = copy_bandwidth(settings.copied_bytes, device)
    rows = [
        row for shape in settings.shapes for row in _decode(settings, shape, seed, device, bandwidth, report)
    ]
    trie = _trie(settings, seed, device, report)
    return {
        "copy_gb_per_s": bandwidth / 1e9,
        "speedup_vs_torch_graph": min(
            row["milliseconds"][TORCH_GRAPH] / row["milliseconds"][OURS] for row in rows
        ),
        "times_floor": max(row["times_floor"] for row in rows),
        "fp16_agreement": min(row["fp16_agreement"] for row in rows),
        "trie_vs_static_captured": max(row["ratio"] for row in trie),
        "trie_ms": max(row["milliseconds"][OURS] for row in trie),
        "decode": rows,
        "trie": trie,
    }


def copy_bandwidth(n_bytes: int, device: torch.device) -> float:
    """Bytes per second that a device reads and writes when it copies."""
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def copies() -> None:
        for _ in range(COPIES):
            target.copy_(source)

    seconds = [timed(copies, device)() for _ in range(5)]
    return 2 * n_bytes * COPIES / statistics.median(seconds)


def bytes_read(setup: Setup) -> int:
    """Bytes of weights in float16 that one batch reads at least."""
    decoder = setup.decoder
    of_layers, of_codebooks = (
        sum(weight.numel() for weight in part.parameters())
        for part in (decoder.layers, decoder.code_embeddings)
    )
    return BYTES_OF_HALF * (decoder.config.levels * of_layers + of_codebooks)


def torch_searches(setup: Setup, beam_width: int, device: torch.device) -> dict[str, Search]:
    """The eager search in float16, as it is and captured for each number of prompts.

    Prompts are brought to the device and SIDs back. Scores are near the decoder's, not the same.
    """
    decoder = copy.deepcopy(setup.decoder).half().to(device)
    tree = TrieTree.from_trie(setup.trie, device)
    replays: dict[int, Replay] = {}

    def run(tokens: Tensor, mask: Tensor, embeddings: Tensor) -> tuple[Tensor]:
        return (eager_search(decoder, Prompts(tokens, mask, embeddings), tree, beam_width).sids,)

    def parts(prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
        return prompts.tokens, prompts.mask, prompts.embeddings.half()

    def eager(prompts: Prompts) -> Found:
        (sids,) = run(*(part.to(device) for part in parts(prompts)))
        return Found(sids.cpu().numpy(), None)

    def captured(prompts: Prompts) -> Found:
        if len(prompts) not in replays:
            replays[len(prompts)] = Replay(run, [part.to(device) for part in parts(prompts)])
        (sids,) = replays[len(prompts)](*parts(prompts))
        return Found(sids.cpu().numpy(), None)

    return {TORCH_GRAPH: captured, EAGER: eager}


def agreement(found: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Share of log-probabilities [B, K] in float16 that are close to those in float32 of the same rank."""
    close = np.abs(found - exact) <= CLOSE * np.maximum(1, np.abs(exact))
    return float(close.mean())


def _decode(
    settings: GpuSettings, shape: Shape, seed: int, device: torch.device, bandwidth: float, report: Report
) -> list[dict[str, Any]]:
    """Rows of one decoder, a batch size each."""
    report(f"Making decoder {shape.name}")
    setup, beam_width = Setup.make(shape, seed), settings.beam_width
    graph = captured_search(setup, beam_width, OwnedDevice(_provider(device)))
    searches = {
        OURS: lambda prompts: Found(graph(prompts)[0], None),
        **torch_searches(setup, beam_width, device),
    }
    in_float32 = copy.deepcopy(setup.decoder).to(device)
    tree = TrieTree.from_trie(setup.trie, device)
    floor_ms = 1000 * bytes_read(setup) / bandwidth
    rows = []
    for batch_size in settings.batch_sizes:
        row = speed.time_batch(setup, beam_width, batch_size, searches, settings.pace, device, report)
        prompts = setup.prompts(batch_size)
        exact = eager_search(in_float32, prompts.to(device), tree, beam_width).log_probs.cpu().numpy()
        rows.append(
            {
                **row,
                "parameters": sum(weight.numel() for weight in setup.decoder.parameters()),
                "floor_ms": floor_ms,
                "times_floor": row["milliseconds"][OURS] / floor_ms,
                "fp16_agreement": agreement(graph(prompts)[1], exact),
            }
        )
    return rows


def _trie(settings: GpuSettings, seed: int, device: torch.device, report: Report) -> list[dict[str, Any]]:
    """Rows of the trie step alone: ours in a CUDA graph, STATIC as it is and in CUDA graphs."""
    codebooks, beam_width, rows = (settings.codebook,) * LEVELS, settings.beam_width, []
    for skew, batch_size in product(settings.skews, settings.batch_sizes):
        report(f"Trie step: {settings.n_sids:,} SIDs, skew {skew}, batch {batch_size}")
        trie = Trie.from_table(random_table(settings.n_sids, codebooks, skew, seed))
        logits = random_logits(batch_size, beam_width, codebooks, seed)
        tensors = [torch.from_numpy(of_level).to(device) for of_level in logits]
        step = CapturedTrieStep(trie, codebooks, logits, beam_width, Device(_provider(device)))
        step.run()
        contenders: dict[str, Callable[[], object]] = {OURS: step.run}
        for name, n_dense in DENSE_LEVELS.items():
            index = StaticIndex.from_trie(trie, codebooks, n_dense, device)
            search = partial(_static, index, beam_width)
            trie_speed.compare(step.found(), index.search(tensors, beam_width))
            contenders[name] = partial(search, *tensors)
            contenders[f"{name}, captured"] = Replay(search, tensors).again
        times = milliseconds(contenders, settings.pace, device, report)
        rows.append(
            {
                "codebook": settings.codebook,
                "n_sids": settings.n_sids,
                "skew": skew,
                "batch_size": batch_size,
                "beam_width": beam_width,
                "milliseconds": times,
                "ratio": times[OURS] / min(times[f"{name}, captured"] for name in DENSE_LEVELS),
                "ratio_as_advised": times[OURS] / times[f"{STATIC}, captured"],
            }
        )
    return rows


def _provider(device: torch.device) -> str:
    return CUDA if device.type == "cuda" else CPU


def _static(index: StaticIndex, beam_width: int, *logits: Tensor) -> tuple[Tensor, Tensor]:
    found = index.search(list(logits), beam_width)
    return found.sids, found.log_probs
