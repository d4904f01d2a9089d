"""The proof that a graph answers as the decoder does, made before anything is written.

Three judges: torch scores what the graph found on real queries; a float64 brute force over a small catalogue
gives the full ranking; a float64 beam search gives the K best of the full trie (``model_export.reference``).
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_export.errors import ExportError
from model_export.graph_search import DEAD
from model_export.reference import Prefix, Prompt, ReferenceDecoder, beam_search
from model_export.sequences import hidden_states
from model_export.session import Answers, GraphSession, Prompts
from sid import SidTable, Trie
from training.model import Decoder

TOLERANCE = 1e-4  # of a log-probability or a coordinate of a unit vector in float32

Ranking = dict[Prefix, float]  # log-probability by SID, best first

JUDGED_BY_REFERENCE = 4  # queries; float64 without caches is slow
MULTIPLICATIONS = 3e11  # that the judges may take; seconds on a CPU
FEWEST = 8  # SIDs that are judged per query, however large the decoder
FLOAT64_COST = 4  # a float64 sequence in those of torch


@dataclass(frozen=True)
class Proof:
    """How far the graph strays from its judges; every figure is the largest absolute difference seen.

    Attributes:
        log_probs_against_torch: of the SIDs found, over ``n_queries`` queries.
        query_vectors_against_torch: per coordinate.
        ranking_against_brute_force: log-probabilities of all SIDs of a catalogue of ``n_brute_force_sids``.
        filter_against_brute_force: the same, with that catalogue as a filter on the full trie.
        beams_against_reference: log-probabilities of the K best over the full trie.
        n_queries: judged by torch.
        n_reference_queries: judged by the two float64 judges.
        n_unsearched: those of them that the float64 beam search does not judge: their beams hang on a
            difference below the tolerance, or the decoder is too large for it.
        n_brute_force_sids: size of the small catalogue.
    """

    log_probs_against_torch: float
    query_vectors_against_torch: float
    ranking_against_brute_force: float
    filter_against_brute_force: float
    beams_against_reference: float
    n_queries: int
    n_reference_queries: int
    n_unsearched: int
    n_brute_force_sids: int

    def to_dict(self) -> dict[str, float]:
        """Plain form for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Effort:
    """How much the judges compute: everything where the decoder is small, samples where it is large.

    Attributes:
        n_queries: judged by torch.
        n_sids: of each query's answer, judged by torch; spread over its ranks.
        n_reference_queries: judged in float64.
        n_brute_force_sids: size of the small catalogue.
        searches: whether float64 searches the whole trie, too.
    """

    n_queries: int
    n_sids: int
    n_reference_queries: int
    n_brute_force_sids: int
    searches: bool

    @classmethod
    def of(cls, decoder: Decoder, prompts: Prompts, beam_width: int) -> "Effort":
        """Fit the judges' work into ``MULTIPLICATIONS``."""
        length = prompts.tokens.shape[1] + decoder.config.levels
        sequences = max(FEWEST, int(MULTIPLICATIONS / (n_layer_weights(decoder) * length)))
        n_sids = min(beam_width, sequences)
        in_float64 = sequences // FLOAT64_COST
        if in_float64 >= JUDGED_BY_REFERENCE * beam_width * decoder.config.levels:
            reference = (JUDGED_BY_REFERENCE, beam_width, True)
        else:
            reference = (1, min(beam_width, max(FEWEST, in_float64)), False)
        return cls(max(1, min(len(prompts), sequences // n_sids)), n_sids, *reference)


def prove(session: GraphSession, decoder: Decoder, table: SidTable, prompts: Prompts) -> Proof:
    """Hold a graph against its judges.

    Args:
        session: the graph, loaded.
        decoder: the torch decoder that the graph was built from.
        table: the SIDs that exist.
        prompts: real queries.

    Raises:
        ExportError: if an answer is malformed or a difference exceeds ``TOLERANCE``.
    """
    reference = ReferenceDecoder(decoder.config, weights_of(decoder))
    effort = Effort.of(decoder, prompts, session.beam_width)
    many, few = prompts[: effort.n_queries], prompts[: effort.n_reference_queries]
    small = _small_catalogue(table, effort.n_brute_force_sids)
    log_probs, query_vectors = _against_torch(session, decoder, table, many, effort.n_sids)
    alone, filtered = _against_brute_force(session, reference, table, few, small)
    beams = _against_reference(session, reference, table, few) if effort.searches else []
    proof = Proof(
        log_probs_against_torch=log_probs,
        query_vectors_against_torch=query_vectors,
        ranking_against_brute_force=alone,
        filter_against_brute_force=filtered,
        beams_against_reference=float(np.max(beams, initial=0.0)),
        n_queries=len(many),
        n_reference_queries=len(few),
        n_unsearched=len(few) - len(beams),
        n_brute_force_sids=len(small),
    )
    for figure, value in proof.to_dict().items():
        # NaN is not within the tolerance either.
        if "_against_" in figure and not value <= TOLERANCE:
            raise _failure(
                session, f"{figure.replace('_', ' ')}: {value:.1e}, where {TOLERANCE:.0e} is allowed"
            )
    return proof


def n_layer_weights(decoder: Decoder) -> int:
    """How many numbers a position is multiplied with on its way through the layers."""
    return sum(p.numel() for name, p in decoder.named_parameters() if name.startswith("layers."))


def weights_of(decoder: Decoder) -> dict[str, NDArray[np.float32]]:
    """A decoder's parameters as arrays, by the names of the checkpoint."""
    return {name: tensor.detach().float().numpy() for name, tensor in decoder.state_dict().items()}


def score(decoder: Decoder, prompt: Prompt, sids: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
    """Score SIDs with the torch decoder, from whole sequences, without padding and cached keys.

    Args:
        decoder: the model.
        prompt: the query.
        sids: int32 [n, L].

    Returns:
        Log-probabilities float32 [n], and the query vector float32 [vector_dim].
    """
    with torch.inference_mode():
        codes = torch.from_numpy(sids.astype(np.int64))
        hidden = hidden_states(decoder, prompt, codes)
        sep = len(prompt.tokens) - 1
        log_probs = torch.zeros(len(codes))
        for level in range(codes.shape[1]):
            predicted = decoder.code_log_probs(hidden[:, sep + level], level)
            log_probs += predicted.gather(1, codes[:, level, None])[:, 0]
        return log_probs, decoder.query_vectors(hidden[0, sep], torch.from_numpy(prompt.embedding))


def ranking(session: GraphSession, answers: Answers, row: int, table: SidTable, n_expected: int) -> Ranking:
    """Read one query's answer and check its form.

    Raises:
        ExportError: if it has not ``n_expected`` different SIDs of the table, best first, ties by leaf, and
            the values of unfilled beams behind them.
    """
    sids, log_probs, leaves = answers.sids[row], answers.log_probs[row], answers.leaves[row]
    found = leaves[:n_expected]
    well_formed = (
        len(np.unique(found)) == n_expected
        and (found >= 0).all()
        and (sids[:n_expected] == table.codes[found]).all()
        and (np.lexsort((found, -log_probs[:n_expected])) == np.arange(n_expected)).all()
        and (leaves[n_expected:] == -1).all()
        and (sids[n_expected:] == -1).all()
        and (log_probs[n_expected:] == np.float32(DEAD)).all()
    )
    if not well_formed:
        raise _failure(session, f"an answer is not {n_expected} different SIDs in order")
    return dict(zip(_tuples(sids[:n_expected]), log_probs[:n_expected].tolist(), strict=True))


def difference(found: Ranking, expected: Ranking) -> float:
    """The largest difference in log-probability; an unexpected SID is held against the worst expected."""
    worst = min(expected.values())
    return float(np.max([abs(value - expected.get(sid, worst)) for sid, value in found.items()]))


def _against_torch(
    session: GraphSession, decoder: Decoder, table: SidTable, prompts: Prompts, n_sids: int
) -> tuple[float, float]:
    answers = session.search(prompts, Trie.from_table(table))
    log_probs, query_vectors = [], []
    for row, prompt in enumerate(prompts.unpadded()):
        found = ranking(session, answers, row, table, min(session.beam_width, table.n_leaves))
        judged = {sid: found[sid] for sid in spread(list(found), n_sids)}
        scores, vector = score(decoder, prompt, np.asarray(list(judged), dtype=np.int32))
        log_probs.append(difference(judged, dict(zip(judged, scores.tolist(), strict=True))))
        query_vectors.append(np.abs(answers.query_vectors[row] - vector.numpy()).max())
    return float(np.max(log_probs)), float(np.max(query_vectors))


def _against_brute_force(
    session: GraphSession,
    reference: ReferenceDecoder,
    table: SidTable,
    prompts: Prompts,
    leaves: NDArray[np.int64],
) -> tuple[float, float]:
    """Rank a small catalogue, once as the trie and once as a filter on the full one."""
    small = SidTable.from_item_codes(table.codes[leaves], table.codebook_sizes)
    trie, leaf_mask = Trie.from_table(table), np.zeros(table.n_leaves, dtype=bool)
    leaf_mask[leaves] = True
    alone = session.search(prompts, Trie.from_table(small))
    filtered = session.search(prompts, trie, trie.alive(leaf_mask)[None])
    differences = []
    for row, prompt in enumerate(prompts.unpadded()):
        scores = reference.log_probs(prompt, small.codes)
        expected = dict(zip(_tuples(small.codes), scores.tolist(), strict=True))
        differences.append(
            [
                difference(ranking(session, answers, row, catalogue, small.n_leaves), expected)
                for answers, catalogue in ((alone, small), (filtered, table))
            ]
        )
    of_alone, of_filtered = np.max(differences, axis=0)
    return float(of_alone), float(of_filtered)


def _against_reference(
    session: GraphSession, reference: ReferenceDecoder, table: SidTable, prompts: Prompts
) -> list[float]:
    """The differences of the queries whose beams are not ambiguous."""
    answers = session.search(prompts, Trie.from_table(table))
    differences = []
    for row, prompt in enumerate(prompts.unpadded()):
        expected = beam_search(reference, prompt, table.codes, session.beam_width)
        if expected.margin > TOLERANCE:
            found = ranking(session, answers, row, table, len(expected.log_probs))
            differences.append(difference(found, expected.log_probs))
    return differences


def _small_catalogue(table: SidTable, size: int) -> NDArray[np.int64]:
    """At most ``size`` leaves, spread over the table."""
    return np.unique(np.linspace(0, table.n_leaves - 1, size).astype(np.int64))


def spread(sids: list[Prefix], n: int) -> list[Prefix]:
    """At most ``n`` of them, the first and the last among them."""
    return [sids[place] for place in np.unique(np.linspace(0, len(sids) - 1, n).astype(np.int64))]


def _tuples(sids: NDArray[np.int32]) -> list[Prefix]:
    return [tuple(sid) for sid in sids.tolist()]


def _failure(session: GraphSession, finding: str) -> ExportError:
    return ExportError(
        f"the graph for beam width {session.beam_width} failed its proof, {finding}; nothing was written, "
        "please report this with the checkpoint"
    )
