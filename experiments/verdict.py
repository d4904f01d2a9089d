"""The verdict in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments.comparison import MetricResult
from experiments.event_log import LogCounts
from experiments.figures import percent, relative
from experiments.interleaving import Interleaving
from experiments.power import Plan
from experiments.split import Split, Variation
from reports.intervals import Kind

Word = Literal["better", "worse", "mixed", "no difference", "no conclusion"]

WEEK = 6.5  # days from the first search to the last, when every weekday was there
MANY = 0.01  # share from which on what is left out is worth a warning


@dataclass(frozen=True)
class Verdict:
    """What to think of an experiment.

    Attributes:
        words: by variant other than the control. *better*: in one metric at least, and worse in none; *worse*
            likewise; *mixed*: both; *no difference*: none was found; *no conclusion*: the sample ratio is not
            sound, so nothing may be concluded.
        sentences: why.
        warnings: what one should know of the data.
    """

    words: dict[str, Word]
    sentences: list[str]
    warnings: list[str]

    @property
    def is_conclusion(self) -> bool:
        """Whether anything may be concluded."""
        return "no conclusion" not in self.words.values()


def verdict_of(
    split: Split | None, interleavings: Sequence[Interleaving], log: LogCounts, plan: Plan
) -> Verdict:
    """Put the figures into words."""
    words: dict[str, Word] = {}
    sentences: list[str] = []
    if split is not None:
        control, *others = split.variations
        for other in others:
            word, said = _judged(split, control, other, plan)
            words[other.variant] = word
            sentences += said
    sentences += [_preferred(one) for one in interleavings]
    return Verdict(words, sentences, _warnings(split, log))


def _judged(split: Split, control: Variation, other: Variation, plan: Plan) -> tuple[Word, list[str]]:
    if not split.sample_ratio.is_sound:
        return "no conclusion", [_mismatch(split, control, other)]
    better, worse = (_of_kind(split.metrics, other, kind) for kind in ("better", "worse"))
    sentences = [
        f"{other.variant} is {kind} than {control.variant}: {', '.join(found)}."
        for kind, found in (("better", better), ("worse", worse))
        if found
    ]
    if better and worse:
        return "mixed", sentences
    if better or worse:
        return "better" if better else "worse", sentences
    return "no difference", [
        f"Nothing tells {other.variant} from {control.variant}.",
        *_could_be_found(split.metrics, other, plan),
    ]


def _mismatch(split: Split, control: Variation, other: Variation) -> str:
    ratio = split.sample_ratio
    counted = " and ".join(
        f"{one.users:,} users got {one.variant} ({percent(ratio.shares[one.number])} expected)"
        for one in (control, other)
    )
    return (
        f"No conclusion: {counted}, which chance explains with p = {ratio.p:.2g}. "
        "Find the users that are missing first; until then no difference means anything."
    )


def _of_kind(metrics: Sequence[MetricResult], other: Variation, kind: Kind) -> list[str]:
    found = []
    for metric in metrics:
        difference = metric.differences[other.number]
        if difference is not None and difference.kind == kind:
            found.append(f"{metric.title} {relative(difference.relative)}")
    return found


def _could_be_found(metrics: Sequence[MetricResult], other: Variation, plan: Plan) -> list[str]:
    """What a difference would have had to be, by the first metric, the one to look at first."""
    for metric in metrics:
        difference = metric.differences[other.number]
        if difference is not None and difference.power is not None:
            power = difference.power
            return [
                f"In {metric.title}, {percent(power.detectable)} would have been found with "
                f"{percent(plan.power)} power; {percent(plan.effect)} needs {power.users_needed:,} users, "
                f"{power.days_needed:.1f} days at the rate so far."
            ]
    return []


def _preferred(one: Interleaving) -> str:
    first, second = one.variants
    deciding = sum(one.users_won)
    if one.win_share is None:
        return f"Interleaved, nobody prefers {first} or {second}."
    share = f"{percent(one.win_share.mean)} [{percent(one.win_share.low)}, {percent(one.win_share.high)}]"
    counted = f"{share} of the {deciding:,} users who prefer one prefer {second} to {first} (p = {one.p:.2g})"
    return f"Interleaved, {counted}: {f'{one.winner} wins' if one.winner else 'neither wins'}."


def _warnings(split: Split | None, log: LogCounts) -> list[str]:
    warnings = []
    if split is not None:
        n_users = sum(one.users for one in split.variations) + split.n_crossed
        if split.n_crossed > MANY * n_users:
            warnings.append(
                f"{split.n_crossed:,} of {n_users:,} users saw several variations and are left out; "
                "look for a change of weights or of ids."
            )
        warnings += [
            f"{percent(one.answered_by_others)} of the searches of variation {one.number} were not answered "
            f"by {one.variant}."
            for one in split.variations
            if one.answered_by_others > 0
        ]
        if split.n_days < WEEK:
            warnings.append("Less than a week: weekdays and novelty may decide.")
    if log.actions_without_search > MANY * max(log.actions, 1):
        warnings.append(
            f"{log.actions_without_search:,} of {log.actions:,} clicks, carts and purchases belong to no "
            "search of this log; are files missing?"
        )
    return warnings
