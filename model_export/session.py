"""Running an exported graph over a trie with onnxruntime on the CPU, as the proof needs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model_export.reference import Prompt
from sid import MOST_NODES, Ranking, Trie


@dataclass(frozen=True)
class Prompts:
    """Queries as the graph reads them.

    Attributes:
        tokens: int64 [B, T], left-padded.
        mask: bool [B, T], false on padding.
        embeddings: float32 [B, embedding_dim], of the queries.
    """

    tokens: NDArray[np.int64]
    mask: NDArray[np.bool_]
    embeddings: NDArray[np.float32]

    @classmethod
    def encode(cls, tokenizer: Tokenizer, queries: list[str], embeddings: NDArray[np.float32]) -> "Prompts":
        """Tokenize queries into one padded batch."""
        encodings = tokenizer.encode_batch(queries)
        tokens = np.asarray([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.asarray([encoding.attention_mask for encoding in encodings], dtype=bool)
        return cls(tokens, mask, embeddings)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> "Prompts":
        return Prompts(self.tokens[rows], self.mask[rows], self.embeddings[rows])

    def unpadded(self) -> list[Prompt]:
        """Each prompt alone."""
        rows = zip(self.tokens, self.mask, self.embeddings, strict=True)
        return [Prompt(tokens[mask], embedding) for tokens, mask, embedding in rows]


@dataclass(frozen=True)
class Answers:
    """What the graph found for a batch of queries, best first; see ``model_export.graph.build_graph``.

    Attributes:
        sids: int32 [B, K, L]; −1 where unfilled.
        log_probs: float32 [B, K]; −1e30 where unfilled.
        leaves: int32 [B, K]; −1 where unfilled.
        query_vectors: float32 [B, vector_dim].
    """

    sids: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    leaves: NDArray[np.int32]
    query_vectors: NDArray[np.float32]


class GraphSession:
    """One loaded graph.

    Args:
        graph: a serialised ONNX model, or the file it lies in.
        beam_width: K, for which it was built.
        threads: of onnxruntime; 0 takes all cores.
    """

    def __init__(self, graph: bytes | Path, beam_width: int, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.beam_width = beam_width
        source = str(graph) if isinstance(graph, Path) else graph
        self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        self._inputs = {value.name for value in self._session.get_inputs()}
        ranked = [value.shape[1] for value in self._session.get_outputs() if value.name == "level_0_nodes"]
        self._n_ranked = ranked[0] if ranked else beam_width

    def search(
        self,
        prompts: Prompts,
        trie: Trie,
        alive: NDArray[np.bool_] | None = None,
        filter_rows: NDArray[np.int32] | None = None,
    ) -> Answers:
        """Decode a batch.

        Args:
            prompts: B queries.
            trie: the SIDs that exist.
            alive: bool [F, n_nodes], filters from ``trie.alive``; None lets everything through.
            filter_rows: int32 [B], the filter of each query; None is the first for all.

        Raises:
            ValueError: if the filters hold 2^31 nodes or more.
        """
        inputs = self._feeds(prompts, trie, alive, filter_rows)
        return Answers(*self._session.run(["sids", "log_probs", "leaves", "query_vector"], inputs))

    def rankings(self, prompts: Prompts, trie: Trie) -> list[Ranking]:
        """What decided each level, if the graph has runners-up.

        Args:
            prompts: B queries.
            trie: the SIDs that exist.

        Returns:
            Per level, nodes and log-probabilities [B, K + R].
        """
        levels = range(len(trie.widths))
        names = [f"level_{level}_{what}" for level in levels for what in ("nodes", "log_probs")]
        found = self._session.run(names, self._feeds(prompts, trie, None, None))
        return [Ranking(found[2 * level], found[2 * level + 1]) for level in levels]

    def _feeds(
        self,
        prompts: Prompts,
        trie: Trie,
        alive: NDArray[np.bool_] | None,
        filter_rows: NDArray[np.int32] | None,
    ) -> dict[str, NDArray[Any]]:
        """The inputs of the graph; arguments as in :meth:`search`."""
        if alive is None:
            alive = np.ones((1, trie.n_nodes), dtype=bool)
        if filter_rows is None:
            filter_rows = np.zeros(len(prompts), dtype=np.int32)
        if alive.size > MOST_NODES:
            raise ValueError(f"filters hold {alive.size:,} nodes, a graph reads {MOST_NODES:,} at most")
        return {
            "tokens": prompts.tokens,
            "mask": prompts.mask,
            "query_embedding": prompts.embeddings,
            "alive": alive.reshape(-1),
            "filter_start": filter_rows.astype(np.int32) * trie.n_nodes,
            **trie.graph_inputs,
            **(trie.chunk_budget(self._n_ranked) if "chunks_0" in self._inputs else {}),
        }
