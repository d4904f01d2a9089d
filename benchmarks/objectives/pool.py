"""Jobs in several processes, each with a workbench of its own; what is finished is kept at once."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import TracebackType
from typing import ClassVar

import torch

from benchmarks.objectives.plan import Job
from benchmarks.objectives.store import Result, Store
from benchmarks.objectives.workbench import Bench, Workbench


class Pool:
    """Processes that take jobs from a queue."""

    def __init__(self, bench: Bench, device: torch.device, workers: int) -> None:
        """Prepare processes; they start with the first job.

        Args:
            bench: what they load.
            device: where they compute, all on the same one.
            workers: how many; they share the processor's cores evenly.
        """
        threads = max(len(os.sched_getaffinity(0)) // workers, 1)
        self._executor = ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _Worker.open, (bench, device, threads)
        )

    def __enter__(self) -> "Pool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def do(self, jobs: Iterable[Job], store: Store, done: Callable[[], None]) -> None:
        """Do jobs and keep their results.

        Args:
            jobs: in the order to begin them.
            store: gets each result when it is there.
            done: called after each.
        """
        futures = {self._executor.submit(_Worker.do, job): job for job in jobs}
        for future in as_completed(futures):
            store.save(futures[future], future.result())
            done()


class _Worker:
    """One process's workbench."""

    bench: ClassVar[Workbench]

    @classmethod
    def open(cls, bench: Bench, device: torch.device, threads: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever presses Ctrl-C gets one message, not one each
        os.environ["TTY_COMPATIBLE"] = (
            "0"  # the terminal shows the progress of the whole, not of each training
        )
        torch.set_num_threads(threads)
        cls.bench = Workbench(bench, device)

    @classmethod
    def do(cls, job: Job) -> Result:
        return cls.bench.do(job)
