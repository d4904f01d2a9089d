"""Graphs that compute in int8 or float16: calibration, and the proof that they lose next to nothing."""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from model_export.calibration import input_ranges
from model_export.errors import ExportError
from model_export.session import Answers, GraphSession, Prompts
from model_export.source import Source
from sid import Trie
from training.evaluate import EvaluationError, judged_queries
from training.metrics import PerQuery, item_values
from training.ordering import gather_candidates, item_features
from training.search import Beams

CALIBRATED_BY = 64  # queries, and SIDs of each query's answer
JUDGED_BY, FEWEST = 512, 32  # validation queries
MULTIPLICATIONS = 1e13  # of a search of all of them; a large decoder is judged by fewer
BATCH = 16
DEPTH = 100  # the deepest metric is Item Recall@100
MOST_LOST = 0.005  # of a metric, relative to float32


@dataclass(frozen=True)
class RoundedProof:
    """What a graph that rounds finds, beside the same one in float32.

    Attributes:
        overlap: share of the K best SIDs that both find, mean over queries.
        log_probs_from_fp32: mean absolute difference of the SIDs that both find.
        lost: by metric of items, what rounding loses relative to float32; negative where it gains.
        n_queries: validation queries that judge.
    """

    overlap: float
    log_probs_from_fp32: float
    lost: dict[str, float]
    n_queries: int

    def to_dict(self) -> dict[str, float]:
        """Plain form for JSON."""
        figures = asdict(self)
        return {**{f"lost {metric}": value for metric, value in figures.pop("lost").items()}, **figures}


def calibrate(source: Source, session: GraphSession) -> dict[str, float]:
    """The largest inputs of the decoder's layers, over real queries and the SIDs found for them.

    Args:
        source: the decoder, its catalogue and queries.
        session: its graph in float32.
    """
    queries = source.queries(CALIBRATED_BY)
    prompts = Prompts.encode(source.dataset.tokenizer, queries.texts, queries.embeddings)
    answers = session.search(prompts, Trie.from_table(source.dataset.sids))
    sids = [of_query[leaves >= 0] for of_query, leaves in zip(answers.sids, answers.leaves, strict=True)]
    return input_ranges(source.decoder, prompts.unpadded(), [some[:CALIBRATED_BY] for some in sids])


def prove_rounded(fp32: GraphSession, rounding: GraphSession, source: Source, precision: str) -> RoundedProof:
    """Hold a graph that rounds against the one in float32, on validation queries.

    Args:
        fp32: the graph in float32.
        rounding: the other one.
        source: the decoder, its catalogue and queries.
        precision: name of the other one, for errors.

    Raises:
        ExportError: if no query can judge, or a metric loses more than ``MOST_LOST``.
    """
    remedy = f"export without --precision {precision}"
    try:
        grades = judged_queries(source.dataset, "valid", _n_queries(source, fp32.beam_width)).grades
    except EvaluationError as error:
        raise ExportError(f"{precision} cannot be judged: {error}; or {remedy}") from error
    queries = list(grades)
    exact, rounded = _search(fp32, source, queries), _search(rounding, source, queries)
    expected, found = _values(source, queries, exact), _values(source, queries, rounded)
    lost = {
        metric: 1.0 - float(found[metric].mean() / values.mean())
        for metric, values in expected.items()
        if values.any()
    }
    if not lost:
        raise ExportError(
            f"{precision} cannot be judged: nothing relevant is found for {len(queries):,} valid queries; "
            f"{remedy}"
        )
    worst = max(lost, key=lambda metric: lost[metric])
    if lost[worst] > MOST_LOST:
        raise ExportError(
            f"{precision} loses {lost[worst]:.1%} of {worst} on {len(queries):,} valid queries, "
            f"{MOST_LOST:.1%} is allowed; {remedy}"
        )
    common, differences = _compare(exact, rounded)
    return RoundedProof(common, differences, lost, len(queries))


def _n_queries(source: Source, beam_width: int) -> int:
    config = source.decoder.config
    in_layers = sum(p.numel() for name, p in source.decoder.named_parameters() if name.startswith("layers."))
    positions = config.max_prompt + beam_width * (config.levels - 1)
    return int(np.clip(MULTIPLICATIONS / (in_layers * positions), FEWEST, JUDGED_BY))


def _search(session: GraphSession, source: Source, queries: list[str]) -> Answers:
    dataset, parts = source.dataset, []
    trie = Trie.from_table(dataset.sids)
    for start in range(0, len(queries), BATCH):
        batch = queries[start : start + BATCH]
        parts.append(session.search(Prompts.encode(dataset.tokenizer, batch, dataset.embed(batch)), trie))
    return Answers.concatenate(parts)


def _values(source: Source, queries: list[str], answers: Answers) -> PerQuery:
    """Metrics of the items behind the SIDs found, ordered as the service orders them."""
    arrays = (answers.sids, answers.log_probs, answers.leaves, answers.query_vectors)
    beams = Beams(*map(torch.from_numpy, arrays))
    features = item_features(source.decoder, source.dataset)
    candidates = gather_candidates(features, source.dataset, queries, beams)
    ranked = {
        query: found.order(source.ordering, DEPTH).tolist()
        for query, found in zip(queries, candidates, strict=True)
    }
    grades = source.dataset.relevance("valid")
    return item_values(ranked, {query: grades[query] for query in queries}, source.dataset.positive_from)


def _compare(exact: Answers, rounded: Answers) -> tuple[float, float]:
    """Share of SIDs in common, and how far their log-probabilities are apart on average."""
    shares, differences = [], []
    for row, leaves in enumerate(exact.leaves):
        ours = leaves[leaves >= 0]
        _, left, right = np.intersect1d(ours, rounded.leaves[row], return_indices=True)
        shares.append(len(left) / len(ours))
        differences.append(np.abs(exact.log_probs[row][left] - rounded.log_probs[row][right]))
    return float(np.mean(shares)), float(np.concatenate(differences).mean())
