"""Beam search on the device: one graph per exported beam width."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.bundle import Bundle
from service.device import CUDA, Device, OwnedDevice, Resident, choose_graphs, load_graph
from service.embedder import Embeddings, NoEmbedder, load_embedder
from service.errors import ServiceError
from service.searches import OUTPUTS, BoundTrie, CapturedSearch, DeviceTrie, PlainSearch, Search
from service.tokenizer import Query
from sid import MOST_NODES, Ranking, Trie
from sid.manifest import RUNNERS_UP, Graph

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
        rankings: of an explaining search, per level the best prefixes [B, K + R], kept ones first.
    """

    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    leaves: NDArray[np.int32]
    query_vectors: NDArray[np.float32]
    query_embeddings: NDArray[np.float32]
    rankings: tuple[Ranking, ...] = ()

    @classmethod
    def concatenate(cls, parts: "Sequence[Beams]") -> "Beams":
        """Put the beams of several batches after one another."""
        levels = zip(*(part.rankings for part in parts), strict=True)
        return cls(
            sids=np.concatenate([part.sids for part in parts]),
            log_probs=np.concatenate([part.log_probs for part in parts]),
            leaves=np.concatenate([part.leaves for part in parts]),
            query_vectors=np.concatenate([part.query_vectors for part in parts]),
            query_embeddings=np.concatenate([part.query_embeddings for part in parts]),
            rankings=tuple(
                Ranking(
                    np.concatenate([each.nodes for each in level]),
                    np.concatenate([each.log_probs for each in level]),
                )
                for level in levels
            ),
        )


class Engine:
    """The beam searches of one bundle, and the embedder whose embeddings they read.

    Tries are bound to the device and given with each search: many epochs can be searched side by side. A
    request carries its query and, where it filters, its own mask.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: Device,
        precision: str,
        intra_threads: int,
        max_batch: int,
    ) -> None:
        """Load the embedder and one graph per beam width.

        Args:
            bundle: that holds them.
            device: that runs them.
            precision: which graphs, see :func:`choose_graphs`.
            intra_threads: of one run; 0 takes all cores.
            max_batch: prompts in a batch at most.

        Raises:
            BundleError: if one cannot be loaded.
            ServiceError: if the device, or a graph of the precision, is not to be had.
        """
        self._bundle = bundle
        self._intra_threads = intra_threads
        self._max_batch = max_batch
        self._device = device
        self._embedder = load_embedder(bundle.path / "embedder", device, intra_threads)
        self._graphs = choose_graphs(bundle.manifest.graphs, device.provider, precision)
        self._searches = {width: self._load(graph) for width, graph in self._graphs.items()}
        self._explaining: dict[int, Search] = {}
        self._loading = threading.Lock()

    @property
    def provider(self) -> str:
        """The execution provider that runs the graphs."""
        return self._device.provider

    @property
    def beam_widths(self) -> tuple[int, ...]:
        """Exported beam widths, ascending."""
        return tuple(self._graphs)

    @property
    def precisions(self) -> tuple[str, ...]:
        """In what the graph of each beam width computes."""
        return tuple(graph.precision for graph in self._graphs.values())

    def graph_width(self, beam_width: int) -> int:
        """Smallest exported beam width that holds ``beam_width`` beams, which is at most the largest."""
        return next(width for width in self._graphs if width >= beam_width)

    def bind(self, trie: Trie, alive: NDArray[np.bool_]) -> BoundTrie:
        """Bring a trie to the device.

        Args:
            trie: of an epoch.
            alive: bool [n_nodes], the nodes that a search without a filter may reach.
        """
        budgets = {
            width: self._bound(trie.chunk_budget(width + RUNNERS_UP))
            for width, graph in self._graphs.items()
            if graph.provider == CUDA
        }
        on_the_device = DeviceTrie(self._bound(trie.graph_inputs), budgets)
        return BoundTrie(on_the_device, alive, self._device.place(alive))

    def rebind(self, bound: BoundTrie, alive: NDArray[np.bool_]) -> BoundTrie:
        """The same trie on the device with other nodes alive, bool [n_nodes]."""
        return replace(bound, alive=alive, alive_on_device=self._device.place(alive))

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
        explains: bool = False,
    ) -> Beams:
        """Embed and decode a batch; blocks, releases the interpreter lock, any number of threads may run it.

        Args:
            trie: that holds the SIDs to find.
            graph_width: one of ``beam_widths``.
            queries: B of them.
            masks: bool [n_nodes] each, the nodes that a filter leaves alive.
            mask_of_query: int32 [B]; 0 is no filter, i is ``masks[i − 1]``.
            explains: whether to rank what was pruned, too; by a graph of its own, loaded when first asked.
        """
        if (len(masks) + 1) * len(trie.alive) > MOST_NODES:
            return self._in_halves(trie, graph_width, queries, masks, mask_of_query, explains)
        tokens, mask = pad_left([query.tokens for query in queries])
        embeddings = self._embedder.embed([query.text for query in queries])
        feeds = {
            "tokens": tokens,
            "mask": mask,
            "query_embedding": embeddings,
            "filter_start": mask_of_query * np.int32(len(trie.alive)),
        }
        search = self._explanation(graph_width) if explains else self._searches[graph_width]
        sids, log_probs, leaves, vectors, *levels = search.run(trie, feeds, masks)
        rankings = tuple(Ranking(*levels[place : place + 2]) for place in range(0, len(levels), 2))
        return Beams(sids, log_probs, leaves, vectors, embeddings, rankings)

    def warm_up(self, trie: BoundTrie) -> None:
        """Run every graph on each size of batch that costs more the first time, so that no request pays."""
        longest = self._bundle.tokenizer.longest
        for width, search in self._searches.items():
            for n_queries, length in search.first_batches(self._max_batch, longest):
                queries = [Query("a", (1,) * length)] * n_queries
                self.search(trie, width, queries, [], np.zeros(n_queries, np.int32))

    def _in_halves(
        self,
        trie: BoundTrie,
        graph_width: int,
        queries: list[Query],
        masks: list[NDArray[np.bool_]],
        mask_of_query: NDArray[np.int32],
        explains: bool,
    ) -> Beams:
        """Search a batch whose filters are too many nodes for one run, each half with its own filters."""
        halves = []
        for half in np.array_split(np.arange(len(queries)), 2):
            used, rows = np.unique(np.append(0, mask_of_query[half]), return_inverse=True)
            own = [masks[number - 1] for number in used[1:]]
            asked = [queries[place] for place in half]
            found = self.search(trie, graph_width, asked, own, rows[1:].astype(np.int32), explains)
            halves.append(found)
        return Beams.concatenate(halves)

    def _load(self, graph: Graph) -> Search:
        captures = graph.provider == CUDA
        path = self._bundle.graph_path(graph.file)
        load = partial(load_graph, path, self._device, self._intra_threads, captures)
        if isinstance(self._device, OwnedDevice) and captures:
            return CapturedSearch(load, self._device, graph.beam_width)
        return PlainSearch(load(), self._device, graph.beam_width)

    def _explanation(self, width: int) -> Search:
        """The search of a beam width that also ranks what it prunes."""
        with self._loading:
            if width not in self._explaining:
                graph = self._graphs[width]
                path = self._bundle.graph_path(graph.explanation)
                session = load_graph(path, self._device, self._intra_threads)
                levels = [
                    f"level_{level}_{what}"
                    for level in range(len(self._bundle.quantizer.codebook_sizes))
                    for what in ("nodes", "log_probs")
                ]
                self._explaining[width] = PlainSearch(session, self._device, width, (*OUTPUTS, *levels))
            return self._explaining[width]

    def _bound(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Resident[ort.OrtValue]]:
        return {name: self._device.place(array) for name, array in arrays.items()}


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
