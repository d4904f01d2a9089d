"""Where graphs run: the execution provider, and onnxruntime sessions held to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from service.errors import ServiceError
from sid.manifest import BundleError, Graph

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


PREFERRED = {CPU: ("int8", "fp32"), CUDA: ("fp16", "fp32")}  # the first is fastest, and was judged at export


def choose_provider(asked: Literal["auto", "cpu", "cuda"]) -> str:
    """Name the execution provider.

    Raises:
        ServiceError: if CUDA is asked for and this onnxruntime has none.
    """
    available = ort.get_available_providers()
    if asked == "cpu" or (asked == "auto" and CUDA not in available):
        return CPU
    if CUDA not in available:
        raise ServiceError(
            "this onnxruntime has no CUDA; install 'radsearch[gpu]' in place of 'radsearch[cpu]' "
            "or pass --provider cpu"
        )
    return CUDA


def choose_graphs(graphs: Sequence[Graph], provider: str, precision: str) -> dict[int, Graph]:
    """Pick one exported graph per beam width.

    Args:
        graphs: of a bundle.
        provider: from :func:`choose_provider`.
        precision: "auto" takes the fastest for the provider, others what they name.

    Returns:
        By beam width, ascending.

    Raises:
        ServiceError: if a beam width has no such graph.
    """
    wanted = PREFERRED[provider] if precision == "auto" else (precision,)
    chosen = {}
    for width in sorted({graph.beam_width for graph in graphs}):
        found = {graph.precision: graph for graph in graphs if graph.beam_width == width}
        fitting = [found[name] for name in wanted if name in found]
        if not fitting:
            raise ServiceError(
                f"the bundle has no graph of beam width {width} in {' or '.join(wanted)}, only in "
                f"{', '.join(found)}; export it with --precision {wanted[0]} or pass --precision auto"
            )
        chosen[width] = fitting[0]
    return chosen


def load_graph(path: Path, provider: str, intra_threads: int, captures: bool = False) -> ort.InferenceSession:
    """Load a graph of a bundle.

    Args:
        path: the ONNX file.
        provider: from :func:`choose_provider`.
        intra_threads: of one run; 0 takes all cores.
        captures: whether runs may be captured as CUDA graphs.

    Raises:
        BundleError: if the graph cannot be loaded.
        ServiceError: if onnxruntime would run it elsewhere, which it does without a word.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_threads
    options.inter_op_num_threads = 1
    # Sessions beside each other that spin for work take the cores from one another.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [CPU]
    if provider == CUDA:
        # Strict norms sum up in float32, also where what they sum up is float16.
        options_of_cuda = {
            "enable_cuda_graph": "1" if captures else "0",
            "enable_skip_layer_norm_strict_mode": "1",
        }
        providers = [(CUDA, options_of_cuda), CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no base but this
        raise BundleError(f"{path} cannot be loaded ({error}); export the bundle again") from error
    if session.get_providers()[0] != provider:
        raise ServiceError(
            f"onnxruntime runs {path.name} on {session.get_providers()[0]} instead of {provider}; "
            "check the GPU's driver and CUDA libraries or pass --provider cpu"
        )
    return session
