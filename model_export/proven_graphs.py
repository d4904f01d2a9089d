"""All graphs of a bundle, written and proven one after another."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_export.calibration import calibrate
from model_export.errors import ExportError
from model_export.graph import build_graph
from model_export.graph_builder import OPSET
from model_export.graph_files import GraphWriter
from model_export.proof import Proof, prove, weights_of
from model_export.rounded import InFloat32, RoundedProof, prove_rounded
from model_export.session import GraphSession, Prompts
from model_export.source import Source
from sid import Trie
from sid.manifest import RUNNERS_UP, Graph

PROOF_QUERIES = 16
CALIBRATED_BY = 64  # queries


class Precision(StrEnum):
    """In what a graph multiplies."""

    FP32 = "fp32"
    INT8 = "int8"
    FP16 = "fp16"

    @property
    def provider(self) -> str:
        """The execution provider that such graphs are made for."""
        return "CUDAExecutionProvider" if self is Precision.FP16 else "CPUExecutionProvider"


@dataclass(frozen=True)
class ProvenGraph:
    """A graph that passed its proof, and its twin that explains.

    Attributes:
        graph: its entry in the manifest.
        n_nodes: size of the graph.
        proof: its figures.
        build_s, proof_s: how long both took.
    """

    graph: Graph
    n_nodes: int
    proof: Proof | RoundedProof
    build_s: float
    proof_s: float


class GraphMaker:
    """Writes the graphs of one decoder into a bundle.

    Args:
        source: the decoder and its catalogue.
        directory: of the bundle.
    """

    def __init__(self, source: Source, directory: Path) -> None:
        self._source = source
        self._directory = directory
        self._weights = weights_of(source.decoder)
        self._writers = {
            precision: GraphWriter(directory, f"weights_{precision}.bin") for precision in Precision
        }
        self._trie = Trie.from_table(source.dataset.sids)
        self._prompts = self._real_prompts(PROOF_QUERIES)
        self._input_ranges: dict[str, float] = {}
        self._exact: dict[int, InFloat32] = {}  # of the beam width at hand

    def make(self, beam_widths: Sequence[int], precisions: Sequence[Precision]) -> Iterator[ProvenGraph]:
        """Write and prove a graph per beam width, in float32 and in what else is asked for.

        Raises:
            ExportError: if a proof fails.
        """
        for beam_width in sorted(set(beam_widths)):
            yield self._fp32(beam_width)
            for precision in (Precision.INT8, Precision.FP16):
                if precision in precisions:
                    yield self._rounded(beam_width, precision)

    def _fp32(self, beam_width: int) -> ProvenGraph:
        started = time.perf_counter()
        graph, n_nodes = self._write(beam_width, Precision.FP32)
        built = time.perf_counter()
        session, source = self._session(graph.file, beam_width), self._source
        proof = prove(session, source.decoder, source.dataset.sids, self._prompts)
        found = self._find(session, proof.n_queries)
        del session  # a large decoder shall not be loaded twice
        self._prove_explanation(graph, found)
        return ProvenGraph(graph, n_nodes, proof, built - started, time.perf_counter() - built)

    def _rounded(self, beam_width: int, precision: Precision) -> ProvenGraph:
        started = time.perf_counter()
        if precision is Precision.INT8 and not self._input_ranges:
            fp32, prompts = self._fp32_session(beam_width), self._real_prompts(CALIBRATED_BY)
            self._input_ranges = calibrate(self._source.decoder, fp32, prompts, self._trie)
            del fp32
        graph, n_nodes = self._write(beam_width, precision)
        built = time.perf_counter()
        exact = self._in_float32(beam_width)
        rounding = self._session(graph.file, beam_width)
        proof = prove_rounded(exact, rounding, self._source, precision)
        found = self._find(rounding, min(proof.n_queries, PROOF_QUERIES))
        del rounding
        self._prove_explanation(graph, found)
        return ProvenGraph(graph, n_nodes, proof, built - started, time.perf_counter() - built)

    def _in_float32(self, beam_width: int) -> InFloat32:
        """What rounding is held against, searched once per beam width."""
        if beam_width not in self._exact:
            self._exact = {beam_width: InFloat32.find(self._fp32_session(beam_width), self._source)}
        return self._exact[beam_width]

    def _write(self, beam_width: int, precision: Precision) -> tuple[Graph, int]:
        """Write a graph and the one that explains; returns its entry and its number of nodes."""
        config = self._source.decoder.config
        ranges = self._input_ranges if precision is Precision.INT8 else {}
        for_gpu = precision is Precision.FP16
        searching = build_graph(config, self._weights, beam_width, ranges, for_gpu=for_gpu)
        explaining = build_graph(config, self._weights, beam_width, ranges, RUNNERS_UP, for_gpu)
        writer, file = self._writers[precision], _file(beam_width, precision)
        writer.write(searching, file)
        writer.write(explaining, f"explain_{file}")
        graph = Graph(file, f"explain_{file}", beam_width, precision, OPSET, precision.provider)
        return graph, len(searching.graph)

    def _prove_explanation(self, graph: Graph, found: NDArray[np.int32]) -> None:
        """Make sure that what explains finds what is explained."""
        explaining = self._session(graph.explanation, graph.beam_width)
        if not np.array_equal(self._find(explaining, len(found)), found):
            raise ExportError(f"{graph.explanation} finds other SIDs than {graph.file}; please report this")

    def _find(self, session: GraphSession, n_queries: int) -> NDArray[np.int32]:
        """The leaves found for some queries, int32 [n_queries, K]."""
        return session.search(self._prompts[:n_queries], self._trie).leaves

    def _real_prompts(self, n_queries: int) -> Prompts:
        queries = self._source.queries(n_queries)
        return Prompts.encode(self._source.dataset.tokenizer, queries.texts, queries.embeddings)

    def _fp32_session(self, beam_width: int) -> GraphSession:
        return self._session(_file(beam_width, Precision.FP32), beam_width)

    def _session(self, file: str, beam_width: int) -> GraphSession:
        return GraphSession(self._directory / file, beam_width)


def _file(beam_width: int, precision: Precision) -> str:
    return f"model_k{beam_width}_{precision}.onnx"
