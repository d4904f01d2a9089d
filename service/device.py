"""Where graphs run: the device, what lies on it, and onnxruntime sessions held to it."""

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.errors import ServiceError
from sid.manifest import BundleError, Graph

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PREFERRED = {CPU: ("int8", "fp32"), CUDA: ("fp16", "fp32")}  # the first is fastest, and was judged at export
WORKERS_OF_GPU = 2  # while one decodes, the other's batch is made ready

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Device:
    """A processor that any thread may use at any time.

    Attributes:
        provider: the execution provider.
        name: what onnxruntime calls its memory, "cpu" or "cuda".
    """

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.name = "cuda" if provider == CUDA else "cpu"

    def run(self, work: Callable[[], T]) -> T:
        """Do what touches the device or its memory, and wait for it."""
        return work()

    def place(self, array: NDArray[Any]) -> "Resident[ort.OrtValue]":
        """Bring an array to the device; a CPU's value aliases its memory, which must not change."""
        contiguous = np.ascontiguousarray(array)
        return Resident(self, lambda: ort.OrtValue.ortvalue_from_numpy(contiguous, self.name, 0))

    def workers(self, processes: int) -> int:
        """How many batches are worth having under way at once: the cores, shared out to the processes."""
        return max(1, (os.cpu_count() or 1) // processes)

    def frees(self, holder: object, held: list[Any]) -> None:
        """Have a list of what lies there emptied, by who may, when its holder goes: here, by itself."""


class OwnedDevice(Device):
    """A processor that one thread uses for all others, as a GPU must be.

    onnxruntime keeps the CUDA graphs that it captures per thread, so another thread would capture them once
    more; and while it captures, no other thread of the process may allocate, copy or free the GPU's memory.
    """

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        # Unlike an executor's, this queue may be put to by a destructor that interrupts another put.
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        owner = threading.Thread(target=_serve, args=(self._tasks,), name=self.name, daemon=True)
        owner.start()
        self._owner = owner
        weakref.finalize(self, self._tasks.put, None)

    def run(self, work: Callable[[], T]) -> T:
        """As in :class:`Device`, by the owner."""
        if threading.current_thread() is self._owner:
            return work()
        result: Future[T] = Future()
        self._tasks.put(partial(_fulfil, result, work))
        return result.result()

    def workers(self, processes: int) -> int:
        """Batches take turns, so two are enough: one on the device, one being made ready."""
        return WORKERS_OF_GPU

    def frees(self, holder: object, held: list[Any]) -> None:
        """As in :class:`Device`, by the owner, when it has time."""
        weakref.finalize(holder, self._empty, held).atexit = False

    def _empty(self, held: list[Any]) -> None:
        self._tasks.put(held.clear)


class Resident(Generic[T]):
    """Something that lies on a device: made, and in the end freed, by whoever may touch it.

    Args:
        device: where it lies.
        make: makes it.
    """

    def __init__(self, device: Device, make: Callable[[], T]) -> None:
        self._held = [device.run(make)]
        device.frees(self, self._held)

    @property
    def value(self) -> T:
        """The thing itself; only the device's own may keep it."""
        return self._held[0]


def open_device(asked: Literal["auto", "cpu", "cuda"]) -> Device:
    """Take the device that is asked for, "auto" a GPU where one can be used; a process takes one for all.

    Raises:
        ServiceError: if CUDA is asked for and cannot be used.
    """
    has_cuda = CUDA in ort.get_available_providers()
    if asked == "cpu" or (asked == "auto" and not has_cuda):
        return Device(CPU)
    if not has_cuda:
        raise ServiceError(
            "this onnxruntime has no CUDA; install 'radsearch[gpu]' in place of 'radsearch[cpu]' "
            "or pass --provider cpu"
        )
    with redirect_stdout(sys.stderr):  # it prints what it misses; what a service prints is read by programs
        ort.preload_dlls()  # CUDA's libraries, where pip installed them
    device = OwnedDevice(CUDA)
    try:
        device.place(np.zeros(1, np.float32))
    except RuntimeError as error:
        if asked == "cuda":
            raise ServiceError(
                "onnxruntime can use no GPU; check its driver and the libraries of CUDA "
                "('onnxruntime-gpu[cuda,cudnn]' brings them), or pass --provider cpu"
            ) from error
        logger.warning("onnxruntime can use no GPU, so the CPU decodes")
        return Device(CPU)
    return device


def _serve(tasks: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (task := tasks.get()) is not None:
        task()
        del task  # what it held must not wait for the next


def _fulfil(result: "Future[T]", work: Callable[[], T]) -> None:
    try:
        result.set_result(work())
    except BaseException as error:  # whatever it is, it is the caller's
        result.set_exception(error)


def choose_graphs(graphs: Sequence[Graph], provider: str, precision: str) -> dict[int, Graph]:
    """Pick one exported graph per beam width.

    Args:
        graphs: of a bundle.
        provider: that runs them.
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


def load_graph(
    path: Path, device: Device, intra_threads: int, captures: bool = False
) -> Resident[ort.InferenceSession]:
    """Load a graph of a bundle.

    Args:
        path: the ONNX file.
        device: that runs it.
        intra_threads: of one run; 0 takes all cores.
        captures: whether runs may be captured as CUDA graphs.

    Raises:
        BundleError: if the graph cannot be loaded.
        ServiceError: if onnxruntime would run it elsewhere, which it does without a word.
    """
    return Resident(device, lambda: _session(path, device.provider, intra_threads, captures))


def _session(path: Path, provider: str, intra_threads: int, captures: bool) -> ort.InferenceSession:
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
