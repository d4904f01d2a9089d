"""Functions of tensors as CUDA graphs: captured once, replayed on the same memory."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3  # runs, as torch advises: they choose algorithms and fill the memory pool


class Replay:
    """Captures a function for inputs of fixed shapes.

    Args:
        function: tensors to tensors, of fixed shapes and without a look at any value.
        inputs: where it reads, on the device; on a CPU it runs as it is, and nothing is captured.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        self._function = function
        self._inputs = inputs
        self._graph = _captured(function, inputs) if inputs[0].device.type == "cuda" else None

    def __call__(self, *values: Tensor) -> Sequence[Tensor]:
        """Run it on other values of the same shapes; the next run writes over what this one gave."""
        for place, value in zip(self._inputs, values, strict=True):
            place.copy_(value)
        return self.again()

    def again(self) -> Sequence[Tensor]:
        """Run it on the values of the last time."""
        if self._graph is None:
            return self._function(*self._inputs)
        graph, outputs = self._graph
        graph.replay()
        return outputs


def _captured(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]
) -> tuple[torch.cuda.CUDAGraph, Sequence[Tensor]]:
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*inputs)
    return graph, outputs
