"""Everything that is to be said of one experiment, plain enough for JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.errors import ExperimentError
from experiments.event_log import EventLog, LogCounts
from experiments.exposed import Period, exposed
from experiments.interleaving import Interleaving, interleavings
from experiments.metrics import NAMES
from experiments.power import Plan
from experiments.split import Split, split_of
from experiments.verdict import Verdict, verdict_of


@dataclass(frozen=True)
class Report:
    """What an event log says of an experiment.

    Attributes:
        experiment: its key.
        plan: level, effect and power.
        log: what was read.
        split: of users among variations; None where all searches were interleaved.
        interleavings: by pair of variants.
        verdict: in words.
    """

    experiment: str
    plan: Plan
    log: LogCounts
    split: Split | None
    interleavings: list[Interleaving]
    verdict: Verdict


def make_report(
    log: EventLog,
    experiment: str | None,
    period: Period,
    plan: Plan,
    weights: Sequence[float] | None = None,
    names: Sequence[str] = NAMES,
) -> Report:
    """Judge an experiment.

    Args:
        log: the event log.
        experiment: its key; None for the only one of the log.
        period: which searches count.
        plan: level, effect and power, decided beforehand.
        weights: of the variations, in any proportion; None for equal ones.
        names: of the metrics that are tested; fewer are easier to tell apart.

    Raises:
        ExperimentError: if there is no such experiment or metric, or nothing to compare.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ExperimentError(f"there is no metric {unknown[0]!r}; known are {', '.join(NAMES)}")
    key = _chosen(log, experiment)
    interleaved = interleavings(log, key, period)
    users = exposed(log, key, period)
    if users is None and not interleaved:
        raise ExperimentError(f"no search was part of experiment {key!r} in that time")
    # Where some variations interleave, those that do not may have nothing to be compared with.
    is_split = users is not None and (not interleaved or users.is_comparable)
    split = split_of(users, plan, weights, names) if users is not None and is_split else None
    verdict = verdict_of(split, interleaved, log.counts, plan)
    return Report(key, plan, log.counts, split, interleaved, verdict)


def _chosen(log: EventLog, experiment: str | None) -> str:
    known = log.experiments()
    if not known:
        raise ExperimentError("no search of this log was part of an experiment; see docs/experiments.md")
    if experiment is None and len(known) > 1:
        raise ExperimentError(f"the log has several experiments; pass --experiment {' or '.join(known)}")
    if experiment is not None and experiment not in known:
        raise ExperimentError(f"the log has no experiment {experiment!r}; it has {', '.join(known)}")
    return experiment or known[0]
