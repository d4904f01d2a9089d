"""The graph's trie step alone: what ``build_graph`` adds to a decoder, with given logits in its place."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from model_export.graph_builder import GraphBuilder, Output
from model_export.graph_captured import CapturedTrieSearch
from model_export.graph_search import Choice, TrieSearch
from sid import Trie

Logits = list[NDArray[np.float32]]


class TrieStep:
    """All levels of a search without a decoder.

    Args:
        levels: L.
        beam_width: K.
        threads: of onnxruntime.
    """

    def __init__(self, levels: int, beam_width: int, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(
            trie_graph(levels, beam_width), options, providers=["CPUExecutionProvider"]
        )

    def search(
        self, logits: Logits, trie: dict[str, NDArray[np.generic]]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Take all steps.

        Args:
            logits: of level 0 float32 [B, 1, V_0], of later levels [B, K, V_l].
            trie: from :func:`trie_inputs`.

        Returns:
            SIDs int32 [B, K, L] and log-probabilities float32 [B, K], best first.
        """
        given = {f"logits_{level}": values for level, values in enumerate(logits)}
        rows = {"filter_start": np.zeros(len(logits[0]), np.int32)}
        sids, log_probs = self._session.run(["sids", "log_probs"], {**given, **rows, **trie})
        return sids, log_probs


def trie_inputs(trie: Trie) -> dict[str, NDArray[np.generic]]:
    """The trie as the graph reads it, without a filter."""
    return {
        "alive": np.ones(trie.n_nodes, dtype=bool),
        **trie.graph_inputs,
    }


def trie_graph(levels: int, beam_width: int, codebooks: tuple[int, ...] | None = None) -> bytes:
    """Write the search as an ONNX model; each level's logits are an input.

    Args:
        levels: L.
        beam_width: K.
        codebooks: codes per level, if CUDA graphs are to capture it.
    """
    g = GraphBuilder()
    n_beams = [1, *[beam_width] * (levels - 1)]
    logits = [
        g.input(f"logits_{level}", ir.DataType.FLOAT, ["B", n, f"V_{level}"])
        for level, n in enumerate(n_beams)
    ]
    search = (
        CapturedTrieSearch.of_codebooks(g, codebooks, beam_width)
        if codebooks
        else TrieSearch.with_inputs(g, levels, beam_width)
    )
    outputs = all_steps(search, levels, lambda level, _: g.LogSoftmax(logits[level], axis=-1))
    serialised: bytes = ir.to_proto(g.model("trie-step", outputs)).SerializeToString()
    return serialised


def all_steps(
    search: TrieSearch, levels: int, log_probs: Callable[[int, Choice | None], ir.Value]
) -> dict[str, Output]:
    """Add a search without a decoder to a graph.

    Args:
        search: has the trie.
        levels: L.
        log_probs: of a level's codes, float32 [B, n, V], after what was chosen on the level before.

    Returns:
        Its outputs but for the query vectors, see ``model_export.graph.build_graph``.
    """
    beams, choice = search.root(), None
    for level in range(levels):
        children = search.children(beams, log_probs(level, choice), level)
        choice = search.best(children, beams, level, in_trie_order=level < levels - 1)
        beams = choice.beams
    sids, found, leaves = search.answer(beams)
    return {
        "sids": Output(sids, ir.DataType.INT32, ["B", search.beam_width, levels]),
        "log_probs": Output(found, ir.DataType.FLOAT, ["B", search.beam_width]),
        "leaves": Output(leaves, ir.DataType.INT32, ["B", search.beam_width]),
    }
