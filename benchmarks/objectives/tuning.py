"""Learning rate and strength of each objective, chosen on ``valid`` with the steps of all trainings.

The same learning rates are tried for all, since the steps of AdamW do not depend on a loss's scale.
The best one at an end of the grid asks for one further on; then the strength of the contrast is moved at the
best learning rate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.objectives.plan import Job, Options, Setting, reading_name, strength
from benchmarks.objectives.store import Result

LEARNING_RATES = (3e-5, 1e-4, 3e-4, 1e-3)
BEYOND = {3e-5: 1e-5, 1e-3: 3e-3}  # what to try when an end of the grid is best
STRENGTHS = (1 / 3, 3.0)  # of the option's default, beside the default itself
MOST_POINTS = len(LEARNING_RATES) + 1 + len(STRENGTHS)
TUNED_FOR = ("sid_recall@8", "sid_mrr", "item_recall@10", "item_mrr")
SEED = 1_000_000  # no seed that is reported, so that the choice has not seen their luck

Ask = Callable[[Sequence[Job]], Mapping[Job, Result]]
"""Gives the results of jobs, those that there are."""


@dataclass(frozen=True)
class Point:
    """One setting, tried.

    Attributes:
        setting: what was tried.
        score: mean over queries and over the metrics tuned for, on ``valid``; None if training diverged.
    """

    setting: Setting
    score: float | None


@dataclass(frozen=True)
class Tuned:
    """What was chosen for one reading of an objective.

    Attributes:
        reading: options that choose its formulas.
        best: the point with the highest score; of equals the one tried first.
        grid: all points, in the order they were tried.
    """

    reading: Options
    best: Point
    grid: list[Point]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return {**_plain(self.best), "grid": [_plain(point) for point in self.grid]}


def tune(subjects: Sequence[tuple[str, Options]], steps: int, ask: Ask) -> dict[str, Tuned]:
    """Tune several objectives side by side.

    Args:
        subjects: objectives, each with the reading of its formulas.
        steps: of every training.
        ask: trains and judges.

    Returns:
        By name, without those that have no setting whose training ended well.
    """
    grids: dict[tuple[str, Options], list[Point]] = {subject: [] for subject in subjects}

    def extend(settings: Mapping[tuple[str, Options], Sequence[Setting]]) -> None:
        trials = {s: s.trial(steps, SEED, "valid") for several in settings.values() for s in several}
        results = ask(list(trials.values()))
        for subject, several in settings.items():
            tried = [(setting, results.get(trials[setting])) for setting in several]
            grids[subject] += [Point(setting, score(result)) for setting, result in tried if result]

    def best_of(then: Callable[[Setting], Sequence[Setting]]) -> dict[tuple[str, Options], Sequence[Setting]]:
        leaders = {subject: _best(grid) for subject, grid in grids.items()}
        return {subject: then(leader.setting) for subject, leader in leaders.items() if leader}

    extend({(name, reading): _rates(name, reading) for name, reading in subjects})
    extend(best_of(_further_on))
    extend(best_of(_other_strengths))
    tuned = {}
    for (name, reading), grid in grids.items():
        best = _best(grid)
        if best:
            tuned[reading_name(name, reading)] = Tuned(reading, best, grid)
    return tuned


def score(result: Result) -> float | None:
    """What settings are chosen by; None where training diverged."""
    means = [float(result.values[name].mean()) for name in TUNED_FOR if name in result.values]
    return sum(means) / len(means) if means else None


def points(objective: str) -> int:
    """How many settings of an objective are tried at most."""
    return MOST_POINTS if strength(objective) else MOST_POINTS - len(STRENGTHS)


def _rates(objective: str, reading: Options) -> list[Setting]:
    return [Setting(objective, reading, rate) for rate in LEARNING_RATES]


def _further_on(best: Setting) -> list[Setting]:
    rate = BEYOND.get(best.learning_rate)
    return [replace(best, learning_rate=rate)] if rate else []


def _other_strengths(best: Setting) -> list[Setting]:
    option = strength(best.objective)
    if option is None:
        return []
    name, default = option
    return [best.having(**{name: float(f"{default * scale:.3g}")}) for scale in STRENGTHS]


def _best(grid: Sequence[Point]) -> Point | None:
    ended = [point for point in grid if point.score is not None]
    return max(ended, key=lambda point: point.score or 0.0, default=None)


def _plain(point: Point) -> dict[str, Any]:
    return {
        "options": dict(point.setting.options),
        "learning_rate": point.setting.learning_rate,
        "valid_score": point.score,
    }
