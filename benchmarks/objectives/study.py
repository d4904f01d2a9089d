"""The whole experiment: tune, train with every seed, compare. What is asked for is a list of parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal, get_args

from benchmarks.objectives.figures import compared, row_of
from benchmarks.objectives.plan import (
    NOISE_RATES,
    RAD_DPO,
    SFT,
    SHARES,
    START,
    Job,
    Probe,
    Setting,
    Trial,
    ablations,
    formulas,
    readings,
    start_trial,
)
from benchmarks.objectives.store import Result
from benchmarks.objectives.tuning import Tuned, points, tune

Part = Literal["objectives", "ablation", "scale", "noise"]
PARTS: tuple[Part, ...] = get_args(Part)
WITHOUT_RDRW = "without rdrw"

Table = dict[str, list[Trial]]  # row → its trainings, one per seed
Ask = Callable[[str, Sequence[Job], int], Mapping[Job, Result]]
"""Gives the results that there are; told what they are for, and how many more jobs follow at most."""


@dataclass(frozen=True)
class Plan:
    """Every training to report.

    Attributes:
        main: the start, all objectives, and the ablations of RAD-DPO.
        scale: by share of the sessions.
        noise: by share of the negatives that are relevant in truth.
        probes: of RDRW's weights, by the same share; "as logged" for the sessions as they are.
    """

    main: Table
    scale: dict[float, Table]
    noise: dict[float, Table]
    probes: dict[str, Probe]

    @property
    def jobs(self) -> list[Job]:
        """All of them, each once; shared ones are done once."""
        tables = [self.main, *self.scale.values(), *self.noise.values()]
        trials = chain.from_iterable(chain.from_iterable(table.values()) for table in tables)
        return list(dict.fromkeys([*self.probes.values(), *trials]))


@dataclass(frozen=True)
class Study:
    """What to find out.

    Attributes:
        objectives: names in the registry, SFT and RAD-DPO among them.
        parts: which experiments.
        steps: of every training.
        seeds: of the trainings that are reported.
        noise_seeds: of those with controlled noise.
    """

    objectives: tuple[str, ...]
    parts: tuple[Part, ...]
    steps: int
    seeds: tuple[int, ...]
    noise_seeds: tuple[int, ...]

    def run(self, ask: Ask) -> dict[str, Any]:
        """Do it all, and give the figures as they stand in the result file."""
        tuned = self._tune(ask)
        chosen = _chosen(tuned)
        plan = self._plan(tuned, chosen)
        results = ask("train and judge", plan.jobs, 0)
        return {
            "steps": self.steps,
            "parts": list(self.parts),
            **self._main(plan, results),
            "scale": {f"{share:g}": _versus_sft(table, results) for share, table in plan.scale.items()},
            "noise": self._noise(plan, results),
            "tuned": {
                name: {**one.to_dict(), "chosen": one.best.setting in chosen.values()}
                for name, one in tuned.items()
            },
            "diverged": [asdict(job) for job, result in results.items() if result.error],
            "missing": sum(job not in results for job in plan.jobs),
        }

    def _tune(self, ask: Ask) -> dict[str, Tuned]:
        subjects = [(name, reading) for name in self._compared() for reading in readings(name)]
        left = sum(points(name) for name, _ in subjects)

        def of_jobs(jobs: Sequence[Job]) -> Mapping[Job, Result]:
            nonlocal left
            left = max(left - len(jobs), 0)
            return ask("tune on valid", jobs, left + self._expected())

        return tune(subjects, self.steps, of_jobs)

    def _compared(self) -> tuple[str, ...]:
        return self.objectives if "objectives" in self.parts else (SFT, RAD_DPO)

    def _expected(self) -> int:
        """About how many jobs follow the tuning."""
        jobs = {
            "objectives": len(self.objectives) * len(self.seeds),
            "ablation": 5 * len(self.seeds),
            "scale": 2 * (len(SHARES) - 1) * len(self.seeds),
            "noise": len(NOISE_RATES) * (2 * len(self.noise_seeds) + 1),
        }
        return sum(jobs[part] for part in self.parts)

    def _plan(self, tuned: Mapping[str, Tuned], settings: Mapping[str, Setting]) -> Plan:
        main = {START: [start_trial("test")]} | self._table(settings, self.seeds)
        rad_dpo = settings.get(RAD_DPO)
        scale: dict[float, Table] = {}
        noise: dict[float, Table] = {}
        if rad_dpo and "ablation" in self.parts:
            main |= self._table(ablations(rad_dpo) | _other_readings(rad_dpo, tuned), self.seeds)
        if rad_dpo and "scale" in self.parts:
            rows = {name: settings[name] for name in (SFT, RAD_DPO) if name in settings}
            scale = {share: self._table(rows, self.seeds, session_share=share) for share in SHARES}
        if rad_dpo and "noise" in self.parts:
            rows = {RAD_DPO: rad_dpo, WITHOUT_RDRW: rad_dpo.having(rdrw=False)}
            noise = {rate: self._table(rows, self.noise_seeds, noise=rate) for rate in NOISE_RATES}
        return Plan(main, scale, noise, self._probes())

    def _probes(self) -> dict[str, Probe]:
        if "noise" not in self.parts:
            return {}
        rates = {"as logged": None, **{f"{rate:g}": rate for rate in NOISE_RATES}}
        return {name: Probe(self.noise_seeds[0], rate) for name, rate in rates.items()}

    def _table(
        self,
        settings: Mapping[str, Setting],
        seeds: Sequence[int],
        session_share: float = 1.0,
        noise: float | None = None,
    ) -> Table:
        return {
            name: [
                replace(setting.trial(self.steps, seed, "test"), session_share=session_share, noise=noise)
                for seed in seeds
            ]
            for name, setting in settings.items()
        }

    def _main(self, plan: Plan, results: Mapping[Job, Result]) -> dict[str, Any]:
        rows = {name: row_of(trials, results) for name, trials in plan.main.items()}
        anchors = (START, SFT, RAD_DPO)
        pairs = [(name, other) for name in rows for other in anchors if name not in (other, START)]
        pairs += [(RAD_DPO, name) for name in self._compared() if name not in (SFT, RAD_DPO)]
        return compared(rows, pairs)

    def _noise(self, plan: Plan, results: Mapping[Job, Result]) -> dict[str, Any]:
        by_rate: dict[str, Any] = {
            name: {"detection": results[probe].figures}
            for name, probe in plan.probes.items()
            if probe in results
        }
        for rate, table in plan.noise.items():
            rows = {name: row_of(trials, results) for name, trials in table.items()}
            by_rate.setdefault(f"{rate:g}", {}).update(compared(rows, [(RAD_DPO, WITHOUT_RDRW)]))
        return by_rate


def _chosen(tuned: Mapping[str, Tuned]) -> dict[str, Setting]:
    """The best reading of each objective."""
    best: dict[str, Tuned] = {}
    for one in tuned.values():
        name = one.best.setting.objective
        if name not in best or (one.best.score or 0.0) > (best[name].best.score or 0.0):
            best[name] = one
    return {name: one.best.setting for name, one in best.items()}


def _other_readings(chosen: Setting, tuned: Mapping[str, Tuned]) -> dict[str, Setting]:
    """The readings of RAD-DPO that did worse on ``valid``, each as tuned for itself."""
    return {
        f"{formulas(one.reading)} reading": one.best.setting
        for one in tuned.values()
        if one.best.setting.objective == chosen.objective and one.best.setting != chosen
    }


def _versus_sft(table: Table, results: Mapping[Job, Result]) -> dict[str, Any]:
    rows = {name: row_of(trials, results) for name, trials in table.items()}
    sessions = [
        results[trial].figures["sessions"]
        for trial in chain.from_iterable(table.values())
        if trial in results and "sessions" in results[trial].figures
    ]
    return {"sessions": sessions[0] if sessions else None, **compared(rows, [(RAD_DPO, SFT)])}
