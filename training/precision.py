"""How exactly matrices are multiplied in training: "fast" or "full"; everything else is float32 always."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["fast", "full"]


@contextmanager
def float32_products(precision: Precision) -> Iterator[None]:
    """Set how float32 matrices are multiplied while the block runs.

    "fast" is TF32 on a GPU. On a CPU it leaves the choice to oneDNN: bfloat16 where the processor has units
    for it (AMX), float32 elsewhere, at up to 2.4 times the speed of torch's default.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if precision == "fast" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context for one forward pass: "fast" on a GPU computes in bfloat16 what stands it.

    It keeps bfloat16 copies of the weights, so it must not span a step of the optimizer.
    """
    in_bf16 = precision == "fast" and device.type == "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=in_bf16)
