"""Which trainings there are: per row of the tables one per seed, each known by what decides its outcome."""

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson

from training.data.splits import Split
from training.objectives import OBJECTIVES

Options = tuple[tuple[str, Any], ...]  # an objective's options by name, in the order of names

START = "start"  # the row of the checkpoint that all trainings start from
SFT, RAD_DPO = "sft", "rad-dpo"
SHARES = (0.125, 0.25, 0.5, 1.0)  # of the sessions, for the data-scale curve
NOISE_RATES = (0.0, 0.15, 0.30, 0.45, 0.60)  # of the negatives that are relevant in truth


@dataclass(frozen=True)
class Job:
    """A piece of work whose result is kept.

    Attributes:
        seed: of the order of sessions and of all draws; the start is the same for all.
    """

    seed: int

    @property
    def key(self) -> str:
        """Name of the result: a hash of the kind of work and of everything that decides it."""
        whole = orjson.dumps({"kind": type(self).__name__, **asdict(self)}, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(whole, digest_size=10).hexdigest()


@dataclass(frozen=True)
class Trial(Job):
    """One training, and the judgment of what it made.

    Attributes:
        objective: name in the registry, or :data:`START` for no training at all.
        options: of the objective, where they differ from its defaults.
        learning_rate: at its peak.
        steps: in total.
        split: whose queries judge.
        session_share: how much of the training sessions it sees.
        noise: share of the negatives that are relevant in truth; None takes the sessions as they are.
    """

    objective: str
    options: Options
    learning_rate: float
    steps: int
    split: Split
    session_share: float = 1.0
    noise: float | None = None


@dataclass(frozen=True)
class Probe(Job):
    """How well RDRW's low weights point at negatives that are relevant in truth, at the starting checkpoint.

    Attributes:
        noise: as in :class:`Trial`.
    """

    noise: float | None


@dataclass(frozen=True)
class Setting:
    """An objective with its options and its learning rate."""

    objective: str
    options: Options
    learning_rate: float

    def trial(self, steps: int, seed: int, split: Split) -> Trial:
        """Train with this setting on all sessions as they are."""
        return Trial(seed, self.objective, self.options, self.learning_rate, steps, split)

    def having(self, **options: float | str) -> "Setting":
        """The same with other values of some options."""
        return replace(self, options=with_options(self.options, **options))


def start_trial(split: Split) -> Trial:
    """Judge the starting checkpoint as it is."""
    return Trial(0, START, (), 0.0, 0, split)


def with_options(options: Options, **changes: float | str) -> Options:
    """Set options, keeping the order of names."""
    return tuple(sorted({**dict(options), **changes}.items()))


def readings(objective: str) -> list[Options]:
    """Every combination of the options that choose among formulas; for most objectives one, without any."""
    hints = get_type_hints(OBJECTIVES[objective].Settings)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    return [tuple(sorted(zip(choices, values, strict=True))) for values in product(*choices.values())]


def strength(objective: str) -> tuple[str, float] | None:
    """The option that says how strong the contrast is, with its default: ``beta``, else the first number."""
    defaults = {field.name: field.default for field in fields(OBJECTIVES[objective].Settings)}
    numbers = {name: value for name, value in defaults.items() if isinstance(value, float)}
    name = "beta" if "beta" in numbers else next(iter(numbers), None)
    return None if name is None else (name, numbers[name])


def reading_name(objective: str, reading: Options) -> str:
    """Name a reading of an objective: ``rad-dpo (calibrated)``."""
    return f"{objective} ({formulas(reading)})" if reading else objective


def formulas(reading: Options) -> str:
    """The formulas that a reading chooses, as words."""
    return ", ".join(str(value) for _, value in reading)


def ablations(chosen: Setting) -> dict[str, Setting]:
    """RAD-DPO without each of its parts, all else as tuned."""
    settings = fields(OBJECTIVES[RAD_DPO].Settings)
    modules = [field.name for field in settings if field.default is True]
    rows = {f"without {name}": chosen.having(**{name: False}) for name in modules}
    return {**rows, "without global sft": chosen.having(sft_weight=0.0)}
