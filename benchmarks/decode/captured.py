"""The exported graph as a GPU serves it: float16, the trie on the device, CUDA graphs replayed."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decode.setup import Setup
from model_export.graph import build_graph
from model_export.graph_files import GraphWriter
from model_export.proof import weights_of
from service.device import CPU, CUDA, load_graph
from service.searches import BoundTrie, CapturedSearch, DeviceTrie, on_device
from training.model import Prompts


def captured_search(setup: Setup, beam_width: int, device: str) -> Callable[[Prompts], list[NDArray[Any]]]:
    """Load the graph and bring the trie to the device.

    Args:
        setup: weights and SIDs.
        beam_width: K.
        device: "cuda"; "cpu" runs the same steps and captures nothing.

    Returns:
        A search, prompts to SIDs int32 [B, K, L], log-probabilities float32 [B, K], leaves and query vectors.
    """
    with tempfile.TemporaryDirectory() as directory:
        model = build_graph(setup.decoder.config, weights_of(setup.decoder), beam_width, for_gpu=True)
        path = GraphWriter(Path(directory), "weights.bin").write(model, "decoder.onnx")
        session = load_graph(path, CUDA if device == "cuda" else CPU, 0, captures=True)
    arrays, budget = (
        {name: on_device(array, device) for name, array in inputs.items()}
        for inputs in (setup.trie.graph_inputs, setup.trie.chunk_budget(beam_width))
    )
    alive = np.ones(setup.trie.n_nodes, dtype=bool)
    trie = BoundTrie(DeviceTrie(arrays, {beam_width: budget}), alive, on_device(alive, device))
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
