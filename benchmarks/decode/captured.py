"""The exported graph as a GPU serves it: float16, the trie on the device, CUDA graphs replayed."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.decode.setup import Setup
from benchmarks.decode.trie_step import Logits, trie_graph, trie_inputs
from model_export.graph import build_graph
from model_export.graph_files import GraphWriter
from model_export.proof import weights_of
from service.device import Device, OwnedDevice, load_graph
from service.searches import BoundTrie, CapturedSearch, DeviceTrie
from sid import Trie
from training.model import Prompts


def captured_search(
    setup: Setup, beam_width: int, device: OwnedDevice
) -> Callable[[Prompts], list[NDArray[Any]]]:
    """Load the graph and bring the trie to the device.

    Args:
        setup: weights and SIDs.
        beam_width: K.
        device: a GPU; a CPU takes the same steps and captures nothing.

    Returns:
        A search, prompts to SIDs int32 [B, K, L], log-probabilities float32 [B, K], leaves and query vectors.
    """
    with tempfile.TemporaryDirectory() as directory:
        model = build_graph(setup.decoder.config, weights_of(setup.decoder), beam_width, for_gpu=True)
        path = GraphWriter(Path(directory), "weights.bin").write(model, "decoder.onnx")
        session = load_graph(path, device, 0, captures=True)
    arrays, budget = (
        {name: device.place(array) for name, array in inputs.items()}
        for inputs in (setup.trie.graph_inputs, setup.trie.chunk_budget(beam_width))
    )
    alive = np.ones(setup.trie.n_nodes, dtype=bool)
    trie = BoundTrie(DeviceTrie(arrays, {beam_width: budget}), alive, device.place(alive))
    search = CapturedSearch(lambda: session, device, beam_width)

    def run(prompts: Prompts) -> list[NDArray[Any]]:
        feeds = {
            "tokens": prompts.tokens.numpy(),
            "mask": prompts.mask.numpy(),
            "query_embedding": prompts.embeddings.numpy(),
            "filter_start": np.zeros(len(prompts), dtype=np.int32),
        }
        return search.run(trie, feeds, [])

    return run


class CapturedTrieStep:
    """The trie step alone, all levels; logits, trie and answers stay on the device.

    Args:
        trie: the SIDs that exist.
        codebooks: codes per level.
        logits: of level 0 float32 [B, 1, V_0], of later levels [B, K, V_l].
        beam_width: K.
        device: a GPU; a CPU takes the same steps and captures nothing.
    """

    def __init__(
        self, trie: Trie, codebooks: tuple[int, ...], logits: Logits, beam_width: int, device: Device
    ) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "trie.onnx"
            path.write_bytes(trie_graph(len(codebooks), beam_width, codebooks))
            self._session = load_graph(path, device, 0, captures=True)
        batch_size = len(logits[0])
        self._arrays = {
            **{f"logits_{level}": values for level, values in enumerate(logits)},
            "filter_start": np.zeros(batch_size, np.int32),
            **trie_inputs(trie),
            **trie.chunk_budget(beam_width),
        }
        self._outputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device.name, 0)
            for name, shape, dtype in (
                ("sids", [batch_size, beam_width, len(codebooks)], np.int32),
                ("log_probs", [batch_size, beam_width], np.float32),
            )
        }
        self._binding = self._session.value.io_binding()
        for name, array in self._arrays.items():
            self._binding.bind_ortvalue_input(name, device.place(array).value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self) -> None:
        """Take all steps."""
        self._session.value.run_with_iobinding(self._binding)

    def found(self) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """SIDs int32 [B, K, L] and log-probabilities float32 [B, K] of the last run, best first."""
        return self._outputs["sids"].numpy(), self._outputs["log_probs"].numpy()
