"""Where graphs run: the execution provider, and onnxruntime sessions held to it."""

from pathlib import Path
from typing import Literal

import onnxruntime as ort

from service.errors import ServiceError
from sid.manifest import BundleError

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


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


def load_graph(path: Path, provider: str, intra_threads: int) -> ort.InferenceSession:
    """Load a graph of a bundle.

    Args:
        path: the ONNX file.
        provider: from :func:`choose_provider`.
        intra_threads: of one run; 0 takes all cores.

    Raises:
        BundleError: if the graph cannot be loaded.
        ServiceError: if onnxruntime would run it elsewhere, which it does without a word.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_threads
    options.inter_op_num_threads = 1
    # Sessions beside each other that spin for work take the cores from one another.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [provider] if provider == CPU else [provider, CPU]
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
