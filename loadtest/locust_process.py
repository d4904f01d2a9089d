"""The process that makes the closed loop, seen from outside."""

import importlib.util
import os
import subprocess
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from loadtest.errors import LoadtestError
from loadtest.report import Report
from loadtest.settings import LoadtestSettings


def run_closed_loop(settings: LoadtestSettings, seconds: float) -> Report:
    """Let users work for some seconds.

    Raises:
        LoadtestError: locust is not installed, or its process failed.
    """
    if importlib.util.find_spec("locust") is None:
        raise LoadtestError("locust is not installed; install it with: pip install 'radsearch[loadtest]'")
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtest.closed_loop"],
        env=os.environ | settings.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            output, log = _wait(child, seconds)
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        raise LoadtestError(f"the load generator stopped with exit code {child.returncode}:\n{log.strip()}")
    sys.stderr.write(log)
    return Report.model_validate_json(output)


def _wait(child: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """Wait for the load generator, with a progress bar where someone watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("sending requests", total=seconds)
        start = time.monotonic()
        while True:
            try:
                return child.communicate(timeout=0.2)
            except subprocess.TimeoutExpired:
                progress.update(bar, completed=min(time.monotonic() - start, seconds))
