"""The trie step alone, in a graph whose decoder is a table of scores that float32 adds without rounding.

A score depends on the whole prefix: a beam has a state, each code moves it on, and the state chooses the row
of the table that the next codes are scored by. Answers have to be identical, ties included.
"""

from functools import cache

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from benchmarks.decode.brute_force import Steps, brute_force
from benchmarks.decode.catalogues import Catalogue
from benchmarks.decode.judgement import Asked, Judgement
from benchmarks.decode.trie_step import all_steps
from model_export.graph_builder import GraphBuilder, Output
from model_export.graph_captured import CapturedTrieSearch
from model_export.graph_search import Choice, TrieSearch
from model_export.session import GraphSession, Prompts

N_STATES = 5
STRIDE = 3  # prime to the number of states, so that no code forgets the state before it
UNIT = 1 / 8  # of a score: sums of few multiples have no rounding
LARGEST_SCORES = (0, 1, 3, 50, 10_000)  # in units; the smaller, the more ties

BATCH_SIZE, MILLION_BATCH_SIZE = 32, 4
BEAM_WIDTHS = (1, 2, 3, 5, 17, 32, 64, 200, 1_000)
CODEBOOK_SIZES, MILLION_SIZES = (1, 2, 3, 7, 16, 50, 300), (1024, 700, 1024)


class TrieStepJudge:
    """Holds the trie step against the brute force."""

    def __init__(self) -> None:
        self._session = cache(_session)

    def judge(self, kind: str, rng: np.random.Generator) -> Judgement:
        """Draw a batch over a catalogue of this kind, answer and judge it."""
        if kind == "million":
            sizes, batch_size = MILLION_SIZES, MILLION_BATCH_SIZE
        else:
            sizes, batch_size = tuple(rng.choice(CODEBOOK_SIZES, rng.integers(1, 5)).tolist()), BATCH_SIZE
        asked = Asked.draw(Catalogue.draw(kind, sizes, rng), int(rng.choice(BEAM_WIDTHS)), batch_size, rng)
        size = (batch_size, len(sizes), N_STATES, max(sizes))
        scores = -rng.integers(0, rng.choice(LARGEST_SCORES), size, endpoint=True)
        session = self._session(len(sizes), asked.beam_width)
        answers = asked.search(session, table_prompts(scores), rng)
        expected = brute_force(asked.catalogue.sids, asked.allowed, asked.beam_width, table_steps(scores))
        right = asked.well_formed(answers) & (answers.leaves == expected.leaves).all(axis=1)
        right &= (answers.log_probs == expected.log_probs.astype(np.float32)).all(axis=1)
        return Judgement("trie step", asked, answers, expected, np.ones(batch_size, dtype=bool), ~right)


def table_graph(levels: int, beam_width: int, codebooks: tuple[int, ...] | None = None) -> bytes:
    """Write the graph; its inputs and outputs are those of ``model_export.graph.build_graph``.

    ``tokens`` carries the scores of each query, int64 [B, L · N_STATES · V]; mask and embedding are not read.

    Args:
        levels: L.
        beam_width: K.
        codebooks: codes per level, if it is to be the search that CUDA graphs can capture.
    """
    g = GraphBuilder()
    tokens = g.input("tokens", ir.DataType.INT64, ["B", "T"])
    g.input("mask", ir.DataType.BOOL, ["B", "T"])
    g.input("query_embedding", ir.DataType.FLOAT, ["B", 1])
    search = (
        CapturedTrieSearch.of_codebooks(g, codebooks, beam_width)
        if codebooks
        else TrieSearch.with_inputs(g, levels, beam_width)
    )
    scores = g.Mul(g.Cast(tokens, to=ir.DataType.FLOAT), g.float32(UNIT))
    scores = g.reshape(scores, 0, levels, N_STATES, -1)
    rows = g.Range(g.int64(0), g.Squeeze(g.size(tokens, 0)), g.int64(1))
    first_rows = g.unsqueeze(g.Mul(rows, g.int64(N_STATES)), 1)
    states = [g.Mul(g.unsqueeze(rows, 1), g.int64(0))]  # of the beams, by level

    def log_probs(level: int, choice: Choice | None) -> ir.Value:
        if choice is not None:
            before = g.Gather(g.reshape(states[-1], -1), choice.parents, axis=0)
            codes = g.Cast(choice.codes, to=ir.DataType.INT64)
            states.append(g.Mod(g.Add(g.Mul(before, g.int64(STRIDE)), codes), g.int64(N_STATES)))
        of_level = g.Gather(scores, g.int64(level), axis=1)
        by_state = g.Reshape(of_level, g.Concat(g.int64([-1]), g.size(of_level, 2), axis=0))
        return g.Gather(by_state, g.Add(first_rows, states[-1]), axis=0)

    outputs = all_steps(search, levels, log_probs)
    nothing = g.Identity(outputs["log_probs"].value)
    outputs["query_vector"] = Output(nothing, ir.DataType.FLOAT, ["B", beam_width])
    serialised: bytes = ir.to_proto(g.model("table", outputs)).SerializeToString()
    return serialised


def table_prompts(scores: NDArray[np.int64]) -> Prompts:
    """Tables of scores, int64 [B, L, N_STATES, V] in ``UNIT``, as that graph reads them."""
    tokens = scores.reshape(len(scores), -1)
    return Prompts(tokens, np.ones(tokens.shape, bool), np.zeros((len(tokens), 1), np.float32))


def table_steps(scores: NDArray[np.int64]) -> Steps:
    """The same scores for the brute force."""

    def steps(
        parents: NDArray[np.int64], parent: NDArray[np.int64], codes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        states = np.zeros(len(parents), dtype=np.int64)
        for column in parents.T:
            states = (states * STRIDE + column) % N_STATES
        in_units = scores[:, parents.shape[1]][:, states[parent], codes]
        return in_units.astype(np.float64) * UNIT

    return steps


def _session(levels: int, beam_width: int) -> GraphSession:
    return GraphSession(table_graph(levels, beam_width), beam_width, threads=1)
