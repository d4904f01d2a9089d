"""Beam search on the device: one onnxruntime session per exported beam width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.bundle import Bundle
from service.device import CUDA, choose_provider, load_graph
from service.embedder import Embeddings, NoEmbedder, load_embedder
from service.errors import ServiceError
from service.tokenizer import Query
from sid import Trie

OUTPUTS = ("sids", "log_probs", "leaves", "query_vector")
PAD = 0
ITEMS_AT_ONCE = 64  # texts of items that are embedded together


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


@dataclass(frozen=True, eq=False)
class BoundTrie:
    """A trie that lies on the device; it stays there for as long as a search holds this.

    Attributes:
        arrays: what every search reads, by input of the graph.
        alive: bool [1, n_nodes], the nodes that a search without a filter may reach.
        alive_on_device: the same.
    """

    arrays: Mapping[str, ort.OrtValue]
    alive: NDArray[np.bool_]
    alive_on_device: ort.OrtValue


class Engine:
    """The beam searches of one bundle, and the embedder whose embeddings they read.

    Tries are bound to the device and given with each search: many epochs can be searched side by side. A
    request carries its query and, where it filters, its own mask.
    """

    def __init__(self, bundle: Bundle, provider: Literal["auto", "cpu", "cuda"], intra_threads: int) -> None:
        """Load the embedder and every exported graph.

        Raises:
            BundleError: if one cannot be loaded.
            ServiceError: if CUDA is asked for and not to be had.
        """
        self._provider = choose_provider(provider)
        self._device = "cuda" if self._provider == CUDA else "cpu"
        self._embedder = load_embedder(bundle.path / "embedder", self._provider, intra_threads)
        self._sessions = {
            graph.beam_width: load_graph(bundle.graph_path(graph), self._provider, intra_threads)
            for graph in sorted(bundle.manifest.graphs, key=lambda graph: graph.beam_width)
        }

    @property
    def provider(self) -> str:
        """The execution provider that runs the graphs."""
        return self._provider

    @property
    def beam_widths(self) -> tuple[int, ...]:
        """Exported beam widths, ascending."""
        return tuple(self._sessions)

    def graph_width(self, beam_width: int) -> int:
        """Smallest exported beam width that holds ``beam_width`` beams, which is at most the largest."""
        return next(width for width in self._sessions if width >= beam_width)

    def bind(self, trie: Trie, alive: NDArray[np.bool_]) -> BoundTrie:
        """Bring a trie to the device.

        Args:
            trie: of an epoch.
            alive: bool [n_nodes], the nodes that a search without a filter may reach.
        """
        on_device = {name: self._on_device(array) for name, array in trie.graph_inputs.items()}
        return BoundTrie(on_device, alive, self._on_device(alive))

    def rebind(self, bound: BoundTrie, alive: NDArray[np.bool_]) -> BoundTrie:
        """The same trie on the device with other nodes alive, bool [n_nodes]."""
        return replace(bound, alive=alive, alive_on_device=self._on_device(alive))

    def embed_items(self, texts: Sequence[str]) -> Embeddings:
        """Embed the texts of items, float32 [n, embedding_dim]; blocks.

        Raises:
            ServiceError: if the items' embeddings were made elsewhere.
        """
        if isinstance(self._embedder, NoEmbedder):
            raise ServiceError(
                "the items of this bundle were embedded elsewhere; embed the new ones there, too, "
                "and load a bundle that holds them"
            )
        starts = range(0, len(texts), ITEMS_AT_ONCE)
        return np.concatenate(
            [self._embedder.embed(texts[start : start + ITEMS_AT_ONCE]) for start in starts]
        )

    def search(
        self,
        trie: BoundTrie,
        graph_width: int,
        queries: list[Query],
        masks: list[NDArray[np.bool_]],
        mask_of_query: NDArray[np.int32],
    ) -> Beams:
        """Embed and decode a batch; blocks, releases the interpreter lock, any number of threads may run it.

        Args:
            trie: that holds the SIDs to find.
            graph_width: one of ``beam_widths``.
            queries: B of them.
            masks: bool [n_nodes] each, the nodes that a filter leaves alive.
            mask_of_query: int32 [B]; 0 is no filter, i is ``masks[i − 1]``.
        """
        tokens, mask = pad_left([query.tokens for query in queries])
        embeddings = self._embedder.embed([query.text for query in queries])
        binding = self._sessions[graph_width].io_binding()
        for name, value in trie.arrays.items():
            binding.bind_ortvalue_input(name, value)
        alive = self._on_device(np.concatenate([trie.alive, *masks])) if masks else trie.alive_on_device
        binding.bind_ortvalue_input("alive", alive)
        binding.bind_cpu_input("tokens", tokens)
        binding.bind_cpu_input("mask", mask)
        binding.bind_cpu_input("query_embedding", embeddings)
        binding.bind_cpu_input("filter_start", mask_of_query.astype(np.int64) * len(trie.alive))
        for name in OUTPUTS:
            binding.bind_output(name, "cpu")
        self._sessions[graph_width].run_with_iobinding(binding)
        sids, log_probs, leaves, vectors = binding.copy_outputs_to_cpu()
        return Beams(sids, log_probs, leaves, vectors, embeddings)

    def warm_up(self, trie: BoundTrie) -> None:
        """Run the embedder and every graph once, so that no request pays for first-run allocations."""
        for width in self.beam_widths:
            self.search(trie, width, [Query("a", (1, 2))], [], np.zeros(1, np.int32))

    def _on_device(self, array: NDArray[Any]) -> ort.OrtValue:
        """The array as an OrtValue; on the CPU it aliases the array's memory, which must not change."""
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), self._device, 0)


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
