"""Running a graph over a trie that lies on the device; on a GPU as CUDA graphs, captured and replayed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.device import Device, OwnedDevice, Resident

OUTPUTS = ("sids", "log_probs", "leaves", "query_vector")
LENGTH_BUCKET = 16  # tokens; prompts are padded to a multiple of it where graphs are captured
NOT_CAPTURED = "-1"  # tells onnxruntime to run this time as if it captured nothing
MOST_CAPTURES = 128  # of one trie; a batch of yet another size runs as it comes
MOST_TRIES = 8  # captured by one session: onnxruntime keeps what it captured until the session ends

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class DeviceTrie:
    """A trie that lies on the device.

    Attributes:
        arrays: what every search reads, by input of the graph.
        budgets: what graphs of fixed sizes read beside them, by beam width and input.
    """

    arrays: Mapping[str, Resident[ort.OrtValue]]
    budgets: Mapping[int, Mapping[str, Resident[ort.OrtValue]]]


@dataclass(frozen=True, eq=False)
class BoundTrie:
    """A trie and what of it is on offer; it stays on the device for as long as a search holds this.

    Attributes:
        trie: the same one however often the offer changes.
        alive: bool [n_nodes], the nodes that a search without a filter may reach.
        alive_on_device: the same.
    """

    trie: DeviceTrie
    alive: NDArray[np.bool_]
    alive_on_device: Resident[ort.OrtValue]


class Search(Protocol):
    """Runs a graph."""

    def run(self, bound: BoundTrie, feeds: Feeds, masks: Sequence[NDArray[np.bool_]]) -> list[NDArray[Any]]:
        """Decode a batch; any number of threads may.

        Args:
            bound: the trie that holds the SIDs to find.
            feeds: tokens, mask, query_embedding and filter_start, see ``model_export.graph``.
            masks: bool [n_nodes] each, filters behind what is on offer without one.

        Returns:
            What ``outputs`` of the search names.
        """

    def first_batches(self, max_batch: int, longest: int) -> Sequence[tuple[int, int]]:
        """Numbers of prompts and lengths whose first run costs more than later ones.

        Args:
            max_batch: prompts in a batch at most.
            longest: tokens in a prompt at most.
        """


class PlainSearch:
    """Runs a graph with the trie bound and the batch as it comes.

    Args:
        session: the graph, loaded on the device.
        device: that runs it.
        beam_width: K.
        outputs: what a run gives.
    """

    def __init__(
        self,
        session: Resident[ort.InferenceSession],
        device: Device,
        beam_width: int,
        outputs: Sequence[str] = OUTPUTS,
    ) -> None:
        self._session = session
        self._device = device
        self._beam_width = beam_width
        self._outputs = outputs
        self._has_budget = any(value.name.startswith("chunks_") for value in session.value.get_inputs())

    def run(self, bound: BoundTrie, feeds: Feeds, masks: Sequence[NDArray[np.bool_]]) -> list[NDArray[Any]]:
        """As in :class:`Search`."""
        alive = np.concatenate([bound.alive, *masks]) if masks else None
        return self._device.run(lambda: self._run(bound, feeds, alive))

    def first_batches(self, max_batch: int, longest: int) -> Sequence[tuple[int, int]]:
        """As in :class:`Search`: of any size, one."""
        del max_batch
        return [(1, longest)]

    def _run(self, bound: BoundTrie, feeds: Feeds, alive: NDArray[np.bool_] | None) -> list[NDArray[Any]]:
        """Run on the device; ``alive`` stands in for what is on offer, where there are filters."""
        session = self._session.value
        binding = session.io_binding()
        self._bind_trie(binding, bound.trie)
        offered = bound.alive_on_device if alive is None else self._device.place(alive)
        binding.bind_ortvalue_input("alive", offered.value)
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", NOT_CAPTURED)
        session.run_with_iobinding(binding, options)
        outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs

    def _bind_trie(self, binding: ort.IOBinding, trie: DeviceTrie) -> None:
        budget = trie.budgets[self._beam_width] if self._has_budget else {}
        for name, value in (*trie.arrays.items(), *budget.items()):
            binding.bind_ortvalue_input(name, value.value)


@dataclass
class _Capture:
    """One captured graph: fixed memory for what goes in and comes out."""

    inputs: Mapping[str, ort.OrtValue]
    outputs: Sequence[ort.OrtValue]
    binding: ort.IOBinding
    options: ort.RunOptions = field(default_factory=ort.RunOptions)


@dataclass
class _Captures:
    """What a session has captured over one trie.

    Attributes:
        session: no other can replay them.
        alive: what is on offer, in memory that every one of them reads.
        offered: the same on the host.
        by_size: captures by number of prompts and length.
    """

    session: Resident[ort.InferenceSession]
    alive: Resident[ort.OrtValue]
    offered: NDArray[np.bool_]
    by_size: dict[tuple[int, ...], Resident[_Capture]] = field(default_factory=dict)

    def offer(self, alive: NDArray[np.bool_]) -> None:
        """Let the next run reach other nodes; nothing is captured anew."""
        if alive is not self.offered:
            self.alive.value.update_inplace(alive)
            self.offered = alive


class CapturedSearch(PlainSearch):
    """Runs a graph of fixed sizes by replaying CUDA graphs, one per trie and size of batch.

    Batches are padded to a power of two and prompts to a multiple of ``LENGTH_BUCKET``, so that there are few
    sizes; what is captured reads its inputs where they lay, so every batch is written there. A batch with
    filters runs as it comes: its masks have a size of their own. The device's owner runs one batch at a time.
    Captures last as long as their session, so every ``MOST_TRIES`` tries another is loaded, and a session
    goes with the last trie that it captured.

    Args:
        load: the graph, with ``enable_cuda_graph``.
        device: a GPU; an owned CPU runs the same steps and captures nothing.
        beam_width: K.
        outputs: what a run gives.
    """

    def __init__(
        self,
        load: Callable[[], Resident[ort.InferenceSession]],
        device: OwnedDevice,
        beam_width: int,
        outputs: Sequence[str] = OUTPUTS,
    ) -> None:
        super().__init__(load(), device, beam_width, outputs)
        self._load = load
        self._captures: WeakKeyDictionary[DeviceTrie, _Captures] = WeakKeyDictionary()
        self._n_tries = 0  # that the session has captured, those that are gone too
        self._n_captured = 0

    def run(self, bound: BoundTrie, feeds: Feeds, masks: Sequence[NDArray[np.bool_]]) -> list[NDArray[Any]]:
        """As in :class:`Search`."""
        if masks:
            return super().run(bound, feeds, masks)
        padded = _padded(feeds)
        return self._device.run(lambda: self._replay(bound, feeds, padded))

    def _replay(self, bound: BoundTrie, feeds: Feeds, padded: Feeds) -> list[NDArray[Any]]:
        captures = self._captures_of(bound)
        resident = self._capture(captures, bound.trie, padded)
        if resident is None:
            return self._run(bound, feeds, None)
        captures.offer(bound.alive)
        capture, n_queries = resident.value, len(feeds["tokens"])
        for name, array in padded.items():
            capture.inputs[name].update_inplace(array)
        captures.session.value.run_with_iobinding(capture.binding, capture.options)
        return [output.numpy()[:n_queries].copy() for output in capture.outputs]

    def first_batches(self, max_batch: int, longest: int) -> Sequence[tuple[int, int]]:
        """As in :class:`Search`: each size that is captured."""
        lengths = range(LENGTH_BUCKET, longest + LENGTH_BUCKET, LENGTH_BUCKET)
        doublings = range((max_batch - 1).bit_length() + 1)
        return [(1 << doubling, min(length, longest)) for doubling in doublings for length in lengths]

    def _captures_of(self, bound: BoundTrie) -> _Captures:
        """What there is over a trie; nothing yet, of a session that has room, where it is new."""
        captures = self._captures.get(bound.trie)
        if captures is None:
            if self._n_tries == MOST_TRIES:
                self._session, self._n_tries = self._load(), 0
            self._n_tries += 1
            own = self._device.place(bound.alive.copy())  # on a CPU it would be the offer's own memory
            captures = self._captures[bound.trie] = _Captures(self._session, own, bound.alive)
        return captures

    def _capture(self, captures: _Captures, trie: DeviceTrie, feeds: Feeds) -> Resident[_Capture] | None:
        """The capture for a size of batch; None if it would be one too many."""
        size = feeds["tokens"].shape
        if size not in captures.by_size:
            if len(captures.by_size) >= MOST_CAPTURES:
                return None
            captures.by_size[size] = Resident(self._device, lambda: self._prepared(captures, trie, feeds))
        return captures.by_size[size]

    def _prepared(self, captures: _Captures, trie: DeviceTrie, feeds: Feeds) -> _Capture:
        """Memory and bindings; onnxruntime captures at the first run."""
        session, device = captures.session.value, self._device.name
        described = {output.name: output for output in session.get_outputs()}
        inputs = {name: ort.OrtValue.ortvalue_from_numpy(array, device, 0) for name, array in feeds.items()}
        outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(
                [len(feeds["tokens"]), *described[name].shape[1:]],
                _TYPES[described[name].type],
                device,
                0,
            )
            for name in self._outputs
        }
        binding = session.io_binding()
        self._bind_trie(binding, trie)
        for name, value in {**inputs, "alive": captures.alive.value}.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        capture = _Capture(inputs, tuple(outputs.values()), binding)
        self._n_captured += 1
        capture.options.add_run_config_entry("gpu_graph_id", str(self._n_captured))
        return capture


_TYPES = {"tensor(int32)": np.int32, "tensor(float)": np.float32}


def _padded(feeds: Feeds) -> dict[str, NDArray[Any]]:
    """A batch whose number of prompts and whose length are those of its bucket, in memory of its own."""
    n_queries, length = feeds["tokens"].shape
    rows = np.minimum(np.arange(1 << (n_queries - 1).bit_length()), n_queries - 1)
    columns = -length % LENGTH_BUCKET
    padded = {name: array[rows] for name, array in feeds.items()}
    for name in ("tokens", "mask"):  # prompts end in the last column
        padded[name] = np.pad(padded[name], ((0, 0), (columns, 0)))
    return padded
