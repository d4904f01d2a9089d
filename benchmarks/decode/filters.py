"""Filters inside the search: what masks cost it, and what filtering afterwards would lose."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.decode.judge_whole_graph import WholeGraphJudge
from benchmarks.decode.setup import Setup, Shape, for_graph
from benchmarks.rounds import Report, Seconds, in_turns, timed
from model_export.session import GraphSession, Prompts
from sid import SidTable, Trie

CPU = torch.device("cpu")
THREADS = 2  # of onnxruntime
SHARES = (0.01, 0.1, 0.5)  # of the leaves, kept by a filter
BATCH_SIZE = 8
UNFILTERED = "unfiltered"


def measure(
    n_sids: int,
    seed: int,
    report: Report,
    codebooks: tuple[int, ...] = (1024, 1024, 1024),
    d_model: int = 256,
    n_layers: int = 4,
    beam_widths: Sequence[int] = (32, 128),
    judged_batches: int = 50,
    rounds: int = 25,
) -> dict[str, Any]:
    """Filter a random catalogue.

    Args:
        n_sids: that exist.
        seed: of weights, SIDs, prompts and filters.
        report: told what goes on.
        codebooks: codes per level.
        d_model: width of the decoder.
        n_layers: its depth.
        beam_widths: K.
        judged_batches: of filtered searches in small catalogues, held against the float64 reference.
        rounds: calls of each contender that are timed.

    Returns:
        "alive_ms", from leaves kept to nodes alive, by share kept; "filter_extra", the largest share of a
        search's time that filters add, with "searches", a row per beam width, behind it; "recall", a row per
        beam width and share; "judged", the cases of the comparison with the reference.
    """
    report(f"Making a catalogue of {n_sids:,} SIDs")
    shape = Shape(d_model=d_model, n_layers=n_layers, codebooks=codebooks, n_sids=n_sids)
    setup = Setup.make(shape, seed)
    rng = np.random.default_rng(seed)
    prompts = for_graph(setup.prompts(BATCH_SIZE))
    sessions = {beam_width: setup.graph_session(beam_width, THREADS) for beam_width in beam_widths}
    alive_ms = time_masks(setup.trie, rng, rounds, report)
    searches = [
        time_searches(session, prompts, setup.trie, rng, rounds, report) for session in sessions.values()
    ]
    return {
        "n_sids": setup.trie.n_leaves,
        "decoder": shape.name,
        "batch_size": BATCH_SIZE,
        "alive_ms": alive_ms,
        "filter_extra": max(row["filter_extra"] for row in searches),
        "searches": searches,
        "recall": [
            row
            for session in sessions.values()
            for row in recalls(session, prompts, setup.table, rng, report)
        ],
        "judged": judge(judged_batches, seed, report),
    }


def time_masks(trie: Trie, rng: np.random.Generator, rounds: int, report: Report) -> dict[str, float]:
    """Milliseconds of ``Trie.alive``, by share of leaves kept."""
    masks = {_percent(share): _leaf_mask(trie, share, rng) for share in SHARES}
    runs = {name: timed(partial(trie.alive, mask), CPU) for name, mask in masks.items()}
    return _medians_ms(in_turns(runs, rounds, report))


def time_searches(
    session: GraphSession, prompts: Prompts, trie: Trie, rng: np.random.Generator, rounds: int, report: Report
) -> dict[str, Any]:
    """Time a batch without filters, and with a filter of its own for every query, by share of leaves kept."""
    everything = np.ones((1, trie.n_nodes), dtype=bool)
    rows = np.arange(len(prompts), dtype=np.int32)
    runs = {UNFILTERED: timed(partial(session.search, prompts, trie, everything), CPU)}
    for share in SHARES:
        alive = np.stack([trie.alive(_leaf_mask(trie, share, rng)) for _ in rows])
        runs[_percent(share)] = timed(partial(session.search, prompts, trie, alive, rows), CPU)
    for run in runs.values():
        run()  # what is made on first use
    seconds = in_turns(runs, rounds, lambda text: report(f"Beam width {session.beam_width}: {text}"))
    # Within a round, because what else the machine does changes from round to round.
    ratios = [np.divide(seconds[_percent(share)], seconds[UNFILTERED]) for share in SHARES]
    return {
        "beam_width": session.beam_width,
        "milliseconds": _medians_ms(seconds),
        "filter_extra": max(float(np.median(of_share)) for of_share in ratios) - 1,
    }


def recalls(
    session: GraphSession, prompts: Prompts, table: SidTable, rng: np.random.Generator, report: Report
) -> Iterator[dict[str, Any]]:
    """What is found by filtering in the search and by filtering what an unfiltered search has found.

    Yields:
        Per share of leaves kept: of the SIDs that a search finds where only those kept exist, the shares that
        are found either way, "inside" and "afterwards".
    """
    trie = Trie.from_table(table)
    unfiltered = session.search(prompts, trie).leaves
    for share in SHARES:
        report(f"Beam width {session.beam_width}: recall with {_percent(share)} kept")
        leaf_mask = _leaf_mask(trie, share, rng)
        alone = Trie.from_table(SidTable.from_item_codes(table.codes[leaf_mask], table.codebook_sizes))
        found = session.search(prompts, alone).leaves
        # The n-th leaf of the smaller catalogue is the n-th kept one of the whole.
        wanted = [np.flatnonzero(leaf_mask)[leaves[leaves >= 0]] for leaves in found]
        inside = session.search(prompts, trie, trie.alive(leaf_mask)[None]).leaves
        yield {
            "beam_width": session.beam_width,
            "kept": share,
            "inside": _recall(inside, wanted),
            "afterwards": _recall(np.where(leaf_mask[unfiltered], unfiltered, -1), wanted),
        }


def judge(n_batches: int, seed: int, report: Report) -> dict[str, int]:
    """Hold filtered searches against a brute force over what each filter leaves over, see ``fuzz``.

    Returns:
        "exact_cases", "ambiguous" and "failures" among both.
    """
    report("Comparing with the reference")
    whole_graph, counts = WholeGraphJudge(), Counter(exact_cases=0, ambiguous=0, failures=0)
    for number in range(n_batches):
        judgement = whole_graph.judge("spread", np.random.default_rng([seed, number]))
        counts["exact_cases"] += int(judgement.exact.sum())
        counts["ambiguous"] += int((~judgement.exact).sum())
        counts["failures"] += int(judgement.failed.sum())
    return dict(counts)


def _leaf_mask(trie: Trie, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A filter that keeps this share of the leaves, one at least: bool [n_leaves]."""
    leaf_mask = rng.random(trie.n_leaves) < share
    leaf_mask[rng.integers(trie.n_leaves)] = True
    return leaf_mask


def _medians_ms(seconds: Seconds) -> dict[str, float]:
    return {name: 1000 * float(np.median(taken)) for name, taken in seconds.items()}


def _recall(found: NDArray[np.int32], wanted: list[NDArray[np.int64]]) -> float:
    hits = sum(len(np.intersect1d(leaves, row)) for leaves, row in zip(found, wanted, strict=True))
    return hits / sum(len(row) for row in wanted)


def _percent(share: float) -> str:
    return f"{share:.0%} kept"
