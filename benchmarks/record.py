"""What every result file says of its own making: command, revision, device, seeds, versions."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from sid import RadsearchError

ROOT = Path(__file__).parents[1]
PACKAGES = ("radsearch", "torch", "numpy")
RUNTIMES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu"}  # distributions, by type of device


class RecordError(RadsearchError):
    """A result file that cannot be written."""


def record(
    benchmark: str,
    device: torch.device,
    seeds: Sequence[int],
    fields: dict[str, Any],
    packages: Sequence[str] = (),
) -> dict[str, Any]:
    """Put a benchmark's figures under what one needs to take them again.

    Args:
        benchmark: its name on the command line.
        device: where it computed.
        seeds: of everything that was drawn.
        fields: the figures.
        packages: distributions whose versions matter, beside torch and numpy.
    """
    return {
        "benchmark": benchmark,
        "command": command_line(),
        "git": revision(),
        "device": describe(device),
        "seeds": list(seeds),
        "versions": versions((*PACKAGES, *packages)),
        **fields,
    }


def write_record(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON object, readable, beside its target and renamed when whole.

    Raises:
        RecordError: if it cannot be written.
    """
    scratch = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise RecordError(f"{path} cannot be written ({error.strerror}); choose another --out") from error


def slug(metric: str) -> str:
    """A metric's name in result files: ``Item Recall@10`` → ``item_recall@10``."""
    return metric.lower().replace(" ", "_").removesuffix("_rate")


def command_line() -> str:
    """The command that this process was started with, ready for a shell."""
    return shlex.join(["radsearch", *sys.argv[1:]])


def revision() -> str | None:
    """The commit of this checkout, with ``-dirty`` where files differ from it; None outside of git."""
    try:
        described = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def describe(device: torch.device) -> dict[str, Any]:
    """Name the processor and count its cores, those given to this process and the threads torch runs."""
    cpu = {"cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        return {"gpu": torch.cuda.get_device_name(device), **cpu}
    return {**cpu, "instructions": torch.backends.cpu.get_cpu_capability()}


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Versions of Python and of distributions, None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
