"""Random searches against a brute force: does the graph find exactly what it should?"""

import time
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks.decode.judge_trie_step import TrieStepJudge
from benchmarks.decode.judge_whole_graph import WholeGraphJudge
from benchmarks.decode.judgement import Judgement
from benchmarks.rounds import Report

SHOWN_FAILURES = 5
WHOLE_GRAPH_EVERY = 4  # batches
FIRST_MILLION, MILLION_EVERY = 50, 200  # batches
# Shares of the other batches; what leaves a search little to do wrong comes rarely.
SHARES = {
    "spread": 4,
    "skewed": 4,
    "dead ends": 4,
    "complete": 3,
    "single path": 2,
    "one item": 1,
    "empty": 1,
}


class Judges(NamedTuple):
    """Both, with the sessions they keep."""

    trie_step: TrieStepJudge
    whole_graph: WholeGraphJudge


def fuzz(n_cases: int, seed: int, report: Report) -> dict[str, Any]:
    """Judge random searches until ``n_cases`` are exact ones.

    A case is the answer to one query. Batches are drawn by seed and number, so that each can be drawn again.

    Args:
        n_cases: how many at least.
        seed: of everything.
        report: told how far it is.

    Returns:
        "exact_cases", whose order float32 decides; "ambiguous", whose it does not; "exact_failures", cases
        of either sort that were answered wrongly, the first of them under "failures" with the seed and number
        of their batch; "invalid_leaves" among all answers; cases by "judges", "catalogues", "filters" and
        "beam_widths"; "seconds".
    """
    judges = Judges(TrieStepJudge(), WholeGraphJudge())
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("judges", "catalogues", "filters", "beam_widths")
    }
    totals: Counter[str] = Counter(exact_cases=0, ambiguous=0, exact_failures=0, invalid_leaves=0)
    failures: list[dict[str, Any]] = []
    started, number = time.perf_counter(), 0
    while totals["exact_cases"] < n_cases:
        judgement = _judge(judges, number, seed)
        asked, size = judgement.asked, len(judgement.exact)
        totals["exact_cases"] += int(judgement.exact.sum())
        totals["ambiguous"] += int((~judgement.exact).sum())
        totals["exact_failures"] += int(judgement.failed.sum())
        totals["invalid_leaves"] += int(asked.n_invalid(judgement.answers).sum())
        counts["judges"][judgement.judge] += size
        counts["catalogues"][asked.catalogue.kind] += size
        counts["filters"].update(asked.filters)
        counts["beam_widths"][str(asked.beam_width)] += size
        for row in np.flatnonzero(judgement.failed)[: SHOWN_FAILURES - len(failures)].tolist():
            failures.append({"seed": seed, "batch": number, **_describe(judgement, row)})
        if number % 20 == 0:
            report(f"{totals['exact_cases']:,} of {n_cases:,} cases, {totals['exact_failures']:,} failed")
        number += 1
    return {
        **totals,
        **{name: dict(counter) for name, counter in counts.items()},
        "failures": failures,
        "seconds": time.perf_counter() - started,
    }


def _judge(judges: Judges, number: int, seed: int) -> Judgement:
    rng = np.random.default_rng([seed, number])
    if number % MILLION_EVERY == FIRST_MILLION:
        return judges.trie_step.judge("million", rng)
    shares = np.asarray(list(SHARES.values()))
    kind = str(rng.choice(list(SHARES), p=shares / shares.sum()))
    if number % WHOLE_GRAPH_EVERY == WHOLE_GRAPH_EVERY - 1:
        return judges.whole_graph.judge(kind, rng)
    return judges.trie_step.judge(kind, rng)


def _describe(judgement: Judgement, row: int) -> dict[str, Any]:
    """One case, with the beginning of both answers."""
    asked, first = judgement.asked, slice(0, 5)
    return {
        "judge": judgement.judge,
        "catalogue": asked.catalogue.kind,
        "codebooks": list(asked.catalogue.table.codebook_sizes),
        "n_sids": asked.catalogue.table.n_leaves,
        "beam_width": asked.beam_width,
        "row": row,
        "filter": asked.filters[row],
        "exact": bool(judgement.exact[row]),
        "found_leaves": judgement.answers.leaves[row, first].tolist(),
        "expected_leaves": judgement.expected.leaves[row, first].tolist(),
        "found_log_probs": judgement.answers.log_probs[row, first].tolist(),
        "expected_log_probs": judgement.expected.log_probs[row, first].tolist(),
    }
