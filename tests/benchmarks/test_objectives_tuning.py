"""Which settings are tried and chosen, on a landscape whose best point is known; and what names a result."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from benchmarks.objectives.plan import Job, Options, Setting, Trial, ablations, readings, strength
from benchmarks.objectives.store import Result
from benchmarks.objectives.tuning import LEARNING_RATES, SEED, STRENGTHS, TUNED_FOR, points, tune
from training.objectives import OBJECTIVES
from training.settings import make_objective


class Landscape:
    """Answers trials with a score that falls with the distance from a best learning rate and strength."""

    def __init__(self, rate: float, beta: float, diverges_at: float = math.inf) -> None:
        self.rate, self.beta, self.diverges_at = rate, beta, diverges_at
        self.asked: list[Trial] = []

    def __call__(self, jobs: Sequence[Job]) -> Mapping[Job, Result]:
        trials = [job for job in jobs if isinstance(job, Trial)]
        self.asked += trials
        return {trial: self.result(trial) for trial in trials}

    def result(self, trial: Trial) -> Result:
        if trial.learning_rate >= self.diverges_at:
            return Result(error="loss is nan")
        option = strength(trial.objective)
        beta = dict(trial.options).get(option[0], option[1]) if option else self.beta
        away = abs(math.log(trial.learning_rate / self.rate)) + abs(math.log(beta / self.beta))
        return Result({name: np.full(3, -away) for name in TUNED_FOR})


@pytest.mark.parametrize("rate", [3e-5, 1e-4, 3e-4, 1e-3])
@pytest.mark.parametrize("scale", [1.0, *STRENGTHS])
def test_the_best_point_of_the_grid_is_found(rate: float, scale: float) -> None:
    landscape = Landscape(rate, 0.1 * scale)
    tuned = tune([("dpo", ())], 7, landscape)["dpo"]
    assert tuned.best.setting.learning_rate == rate
    assert dict(tuned.best.setting.options).get("beta", 0.1) == pytest.approx(0.1 * scale, rel=0.01)
    assert len(tuned.grid) == len(landscape.asked) <= points("dpo")
    assert {(trial.seed, trial.split, trial.steps) for trial in landscape.asked} == {(SEED, "valid", 7)}


@pytest.mark.parametrize("rate", [1e-5, 1e-2])
def test_an_end_of_the_grid_is_left_when_it_is_best(rate: float) -> None:
    tuned = tune([("sft", ())], 7, Landscape(rate, 1.0))["sft"]
    assert tuned.best.setting.learning_rate not in LEARNING_RATES


def test_what_diverges_is_not_chosen() -> None:
    subjects: list[tuple[str, Options]] = [("sft", ()), ("dpo", ())]
    tuned = tune(subjects, 7, Landscape(1e-2, 0.1, diverges_at=3e-4))
    assert tuned["dpo"].best.setting.learning_rate == 1e-4
    assert [point["valid_score"] for point in tuned["sft"].to_dict()["grid"]][2:4] == [None, None]
    assert tune(subjects, 7, Landscape(1e-2, 0.1, diverges_at=0.0)) == {}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_reading_and_strength_is_one_the_objective_has(name: str) -> None:
    for reading in readings(name):
        setting = Setting(name, reading, 1e-4)
        option = strength(name)
        if option:
            setting = setting.having(**{option[0]: option[1] * 3})
        make_objective(name, dict(setting.options))


def test_rad_dpo_has_two_readings_and_is_taken_apart() -> None:
    chosen = Setting("rad-dpo", readings("rad-dpo")[1], 1e-4)
    rows = ablations(chosen)
    assert list(rows) == ["without tlgd", "without rdrw", "without mlgc", "without global sft"]
    for setting in rows.values():
        settings = make_objective("rad-dpo", dict(setting.options)).settings
        assert settings.listwise == "calibrated"
        assert [settings.tlgd, settings.rdrw, settings.mlgc, settings.sft_weight > 0].count(False) == 1


def test_a_result_is_named_by_all_that_decides_it() -> None:
    trials = [
        Trial(seed, "dpo", options, rate, steps, "test", share, noise)
        for seed, options, rate, steps, share, noise in (
            (0, (), 1e-4, 5, 1.0, None),
            (1, (), 1e-4, 5, 1.0, None),
            (0, (("beta", 0.3),), 1e-4, 5, 1.0, None),
            (0, (), 3e-4, 5, 1.0, None),
            (0, (), 1e-4, 6, 1.0, None),
            (0, (), 1e-4, 5, 0.5, None),
            (0, (), 1e-4, 5, 1.0, 0.0),
        )
    ]
    assert len({trial.key for trial in trials}) == len(trials)
    assert trials[0].key == Trial(0, "dpo", (), 1e-4, 5, "test").key
