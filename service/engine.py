"""Beam search on the device: one onnxruntime session per exported beam width."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.bundle import Bundle
from service.device import CUDA, choose_provider, load_graph
from service.embedder import load_embedder
from service.tokenizer import Query
from sid import Trie
from sid.manifest import Graph

OUTPUTS = ("sids", "log_probs", "leaves", "query_vector")
PAD = 0


@dataclass(frozen=True)
class Beams:
    """What beam search found for a batch, best first.

    Attributes:
        sids: int32 [B, K, L]; −1 where unfilled.
        log_probs: float32 [B, K], descending; ties by leaf ascending.
        leaves: int32 [B, K]; −1 where unfilled, always at the end.
        query_vectors: float32 [B, vector_dim], unit rows.
        query_embeddings: float32 [B, embedding_dim], what the decoder was told of the queries.
    """

    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    leaves: NDArray[np.int32]
    query_vectors: NDArray[np.float32]
    query_embeddings: NDArray[np.float32]


class Engine:
    """The beam searches of one bundle over one epoch, and the embedder whose embeddings they read.

    The trie and the mask that lets everything through stay bound on the device; a request carries its query
    and, where it filters, its own mask.
    """

    def __init__(self, bundle: Bundle, provider: Literal["auto", "cpu", "cuda"], intra_threads: int) -> None:
        """Load the embedder and every exported graph.

        Raises:
            BundleError: if one cannot be loaded.
            ServiceError: if CUDA is asked for and not to be had.
        """
        self.n_nodes = bundle.epoch.trie.n_nodes
        self._provider = choose_provider(provider)
        self._embedder = load_embedder(bundle.path / "embedder", self._provider, intra_threads)
        self._searches = {
            graph.beam_width: _Search(bundle, graph, self._provider, intra_threads)
            for graph in sorted(bundle.manifest.graphs, key=lambda graph: graph.beam_width)
        }

    @property
    def provider(self) -> str:
        """The execution provider that runs the graphs."""
        return self._provider

    @property
    def beam_widths(self) -> tuple[int, ...]:
        """Exported beam widths, ascending."""
        return tuple(self._searches)

    def graph_width(self, beam_width: int) -> int:
        """Smallest exported beam width that holds ``beam_width`` beams, which is at most the largest."""
        return next(width for width in self._searches if width >= beam_width)

    def search(
        self,
        graph_width: int,
        queries: list[Query],
        masks: list[NDArray[np.bool_]],
        mask_of_query: NDArray[np.int32],
    ) -> Beams:
        """Embed and decode a batch; blocks, releases the interpreter lock, any number of threads may run it.

        Args:
            graph_width: one of ``beam_widths``.
            queries: B of them.
            masks: bool [n_nodes] each, the nodes that a filter leaves alive.
            mask_of_query: int32 [B]; 0 is no filter, i is ``masks[i − 1]``.
        """
        tokens, mask = pad_left([query.tokens for query in queries])
        embeddings = self._embedder.embed([query.text for query in queries])
        feeds = {
            "tokens": tokens,
            "mask": mask,
            "query_embedding": embeddings,
            "filter_row": mask_of_query,
        }
        sids, log_probs, leaves, vectors = self._searches[graph_width].run(feeds, masks)
        return Beams(sids, log_probs, leaves, vectors, embeddings)

    def warm_up(self) -> None:
        """Run the embedder and every graph once, so that no request pays for first-run allocations."""
        for width in self.beam_widths:
            self.search(width, [Query("a", (1, 2))], [], np.zeros(1, np.int32))


class _Search:
    """One exported graph with what stays bound to it."""

    def __init__(self, bundle: Bundle, graph: Graph, provider: str, intra_threads: int) -> None:
        self._session = load_graph(bundle.graph_path(graph), provider, intra_threads)
        self._device = "cuda" if provider == CUDA else "cpu"
        trie = bundle.epoch.trie
        self._everything = np.ones((1, trie.n_nodes), dtype=bool)
        arrays = {
            "trie_indptr": trie.indptr,
            "trie_codes": trie.codes,
            **slots(trie, graph.beam_width),
        }
        self._bound = {name: self._on_device(array) for name, array in arrays.items()}
        self._unfiltered = self._on_device(self._everything)

    def run(self, feeds: dict[str, NDArray[Any]], masks: list[NDArray[np.bool_]]) -> list[NDArray[Any]]:
        """Decode a batch.

        Args:
            feeds: what every batch brings anew, by input of the graph.
            masks: bool [n_nodes] each, the filters behind the first one, which lets everything through.

        Returns:
            What ``OUTPUTS`` names.
        """
        binding = self._session.io_binding()
        for name, value in self._bound.items():
            binding.bind_ortvalue_input(name, value)
        alive = self._on_device(np.vstack([self._everything, *masks])) if masks else self._unfiltered
        binding.bind_ortvalue_input("alive", alive)
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for name in OUTPUTS:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return outputs

    def _on_device(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array as an OrtValue; on the CPU it aliases the array's memory, which must not change."""
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._device, 0)


def slots(trie: Trie, beam_width: int) -> dict[str, NDArray[np.int32]]:
    """The inputs whose length tells the graph how many children of a node to look at, per level.

    Level 0 has at least K, so that its best K can be taken. A shorter one would lose children silently.
    """
    widths = [max(1, width) for width in trie.widths]
    widths[0] = max(beam_width, widths[0])
    return {f"slots_{level}": np.arange(width, dtype=np.int32) for level, width in enumerate(widths)}


def pad_left(prompts: list[tuple[int, ...]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Stack prompts to the right edge, so that [SEP] is the last column.

    Returns:
        Tokens, int64 [B, T], and what of them is prompt, bool [B, T].
    """
    longest = max(len(prompt) for prompt in prompts)
    tokens = np.full((len(prompts), longest), PAD, dtype=np.int64)
    mask = np.zeros((len(prompts), longest), dtype=bool)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = True
    return tokens, mask
