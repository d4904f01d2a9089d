"""From every query's values to means, intervals and differences, plain enough for JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.objectives.plan import START, Trial
from benchmarks.objectives.statistics import Values, difference, estimate
from benchmarks.objectives.store import Result
from training.metrics import PerQuery

Row = dict[int | None, PerQuery]  # seed → values; the start has no seed
Pairs = Iterable[tuple[str, str]]  # rows to compare: one, against another


def row_of(trials: Sequence[Trial], results: Mapping[Any, Result]) -> Row:
    """Gather the values of a row's trials, those that there are."""
    values = {
        None if trial.objective == START else trial.seed: results[trial].values
        for trial in trials
        if trial in results
    }
    return {seed: of_seed for seed, of_seed in values.items() if of_seed}


def compared(rows: Mapping[str, Row], pairs: Pairs) -> dict[str, Any]:
    """Describe rows and compare some of them.

    Returns:
        ``metrics`` of every row with intervals, ``by_seed`` their mean under each seed, and ``differences``
        by row, row it is held against, and metric.
    """
    rows = {name: row for name, row in rows.items() if row}
    differences: dict[str, dict[str, Any]] = {}
    for ours, theirs in pairs:
        if ours in rows and theirs in rows:
            differences.setdefault(ours, {})[theirs] = _differences(rows[ours], rows[theirs])
    return {
        "metrics": {name: _estimates(row) for name, row in rows.items()},
        "by_seed": {name: _seed_means(row) for name, row in rows.items()},
        "differences": differences,
    }


def _estimates(row: Row) -> dict[str, Any]:
    return {metric: asdict(estimate(_stacked(row, metric, list(row)))) for metric in _metrics(row)}


def _seed_means(row: Row) -> dict[str, list[float]]:
    return {metric: _stacked(row, metric, list(row)).mean(axis=1).tolist() for metric in _metrics(row)}


def _differences(ours: Row, theirs: Row) -> dict[str, Any]:
    """By metric; over the seeds that both have, unless one of them has none."""
    unseeded = None in ours or None in theirs
    our_seeds, their_seeds = (
        [seed for seed in row if unseeded or seed in other] for row, other in ((ours, theirs), (theirs, ours))
    )
    if not our_seeds:
        return {}
    return {
        metric: asdict(difference(_stacked(ours, metric, our_seeds), _stacked(theirs, metric, their_seeds)))
        for metric in _metrics(ours)
    }


def _stacked(row: Row, metric: str, seeds: Sequence[int | None]) -> Values:
    """Values as float64 [n_seeds, n_queries]."""
    return np.stack([row[seed][metric] for seed in seeds])


def _metrics(row: Row) -> list[str]:
    return list(next(iter(row.values())))
