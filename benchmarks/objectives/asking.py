"""Results of jobs: those that are kept, and those that are done now, with the time that is left."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.objectives.plan import Job
from benchmarks.objectives.pool import Pool
from benchmarks.objectives.store import Result, Store

SPEED_PERIOD_S = 1800.0  # over which the time left is estimated; jobs take up to a minute


class Asking:
    """Gives the results of jobs.

    Attributes:
        results: all that were asked for and are there.
    """

    def __init__(self, store: Store, pool: Pool | None, progress: Progress) -> None:
        self.results: dict[Job, Result] = {}
        self._store, self._pool, self._progress = store, pool, progress
        self._bar = progress.add_task("", total=None)
        self._done = 0

    def __call__(self, stage: str, jobs: Sequence[Job], later: int) -> Mapping[Job, Result]:
        """Do what is missing, unless there is no pool, and give what is there.

        Args:
            stage: what the jobs are for.
            jobs: in the order to begin them.
            later: how many more are going to follow at most.
        """
        missing = [job for job in jobs if self._store.load(job) is None]
        if missing and self._pool:
            total = self._done + len(missing) + later
            self._progress.update(self._bar, description=stage, total=total)
            self._pool.do(missing, self._store, self._advance)
        found = {job: self._store.load(job) for job in jobs}
        results = {job: result for job, result in found.items() if result}
        self.results |= results
        return results

    @property
    def seconds(self) -> float:
        """What all of them took, one after the other."""
        return sum(result.seconds for result in self.results.values())

    @property
    def revisions(self) -> list[str]:
        """Of the code that gave them; a work directory that is used for long has several."""
        return sorted({str(result.revision) for result in self.results.values()})

    def _advance(self) -> None:
        self._done += 1
        self._progress.advance(self._bar)


@contextmanager
def asking(store: Store, pool: Pool | None, console: Console) -> Iterator[Asking]:
    """Show the progress while the block runs.

    Args:
        store: of results.
        pool: does what is missing; None leaves it missing.
        console: where the progress is shown, if it is a terminal.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("trainings"),
        TimeRemainingColumn(),
    )
    progress = Progress(
        *columns, console=console, speed_estimate_period=SPEED_PERIOD_S, disable=not console.is_terminal
    )
    with pool or nullcontext(), progress:
        yield Asking(store, pool, progress)
