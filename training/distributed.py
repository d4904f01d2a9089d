"""One process, or many under ``torchrun``: who this one is and where it computes."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from sid import RadsearchError


class DeviceError(RadsearchError):
    """The device asked for is not there."""


@dataclass(frozen=True)
class World:
    """The processes of a run.

    Attributes:
        rank: of this process; rank 0 reports and writes.
        size: how many there are.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0


@contextmanager
def joined_world(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or stand alone.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        DeviceError: if a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise DeviceError(
            "no CUDA device is visible to torch; use --device cpu or install a CUDA build of it"
        )
    on_gpu = has_gpu and device != "cpu"
    if "WORLD_SIZE" not in os.environ:
        yield World(0, 1, torch.device("cuda" if on_gpu else "cpu"))
        return
    local = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), local)
    finally:
        # DistributedDataParallel lies in cycles and, uncollected, keeps the group and gloo's threads alive:
        # one that lets go of a tensor while the interpreter shuts down ends the process by SIGABRT.
        gc.collect()
        dist.destroy_process_group()
