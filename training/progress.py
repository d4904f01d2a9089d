"""The progress bar of training: loss, rate, time left; on a terminal only, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
    """Takes note of the steps that are done."""

    def __call__(self, step: int, loss: float, examples_per_s: float) -> None:
        """Say that ``step`` steps are done, with the latest loss and rate."""


@contextmanager
def progress_bar(stage: str, steps: int, shown: bool) -> Iterator[Reporter]:
    """Show a bar while the block runs.

    Args:
        stage: what is going on.
        steps: how many steps there are.
        shown: false keeps silent, as every process but the first does.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f} · {task.fields[rate]:,.0f} examples/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as progress:
        task = progress.add_task(stage, total=steps, loss=float("nan"), rate=0.0)

        def report(step: int, loss: float, examples_per_s: float) -> None:
            progress.update(task, completed=step, loss=loss, rate=examples_per_s)

        yield report
