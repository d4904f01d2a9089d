"""The proof that graphs which compute in int8 or float16 lose next to nothing."""

from dataclasses import asdict, dataclass

import numpy as np

from model_export.errors import ExportError
from model_export.proof import n_layer_weights
from model_export.real_queries import search_texts
from model_export.session import GraphSession
from model_export.source import Source
from sid import ItemFeatures
from training.judged import EvaluationError, judged_queries
from training.metrics import PerQuery, Relevance, item_values
from training.ordering import gather_candidates, item_features
from training.search import Beams

JUDGED_BY, FEWEST = 512, 32  # validation queries
MULTIPLICATIONS = 1e13  # of a search of all of them; a large decoder is judged by fewer
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


@dataclass(frozen=True)
class InFloat32:
    """What the graph in float32 finds for validation queries; graphs that round are held against it.

    Attributes:
        grades: query → {item row: grade}.
        features: of the items.
        beams: what was found, in the order of the queries.
        values: metrics of the items behind it.
    """

    grades: Relevance
    features: ItemFeatures
    beams: Beams
    values: PerQuery

    @classmethod
    def find(cls, session: GraphSession, source: Source) -> "InFloat32":
        """Search once for all graphs that round.

        Args:
            session: the graph in float32.
            source: the decoder, its catalogue and queries.

        Raises:
            ExportError: if there are no queries to judge by, or nothing relevant is found for them.
        """
        remedy = "or export without --precision int8 and fp16"
        try:
            grades = judged_queries(source.dataset, "valid", _n_queries(source, session.beam_width)).grades
        except EvaluationError as error:
            raise ExportError(f"graphs that round cannot be judged: {error}; {remedy}") from error
        beams = search_texts(session, source.dataset, list(grades))
        features = item_features(source.decoder, source.dataset)
        values = _values(source, features, grades, beams)
        if not any(of_metric.any() for of_metric in values.values()):
            raise ExportError(
                f"graphs that round cannot be judged: nothing relevant is found for {len(grades):,} valid "
                f"queries; train further, {remedy}"
            )
        return cls(grades, features, beams, values)


def prove_rounded(exact: InFloat32, rounding: GraphSession, source: Source, precision: str) -> RoundedProof:
    """Hold a graph that rounds against the one in float32, on validation queries.

    Args:
        exact: what that one found.
        rounding: the other one.
        source: the decoder, its catalogue and queries.
        precision: name of the other one, for errors.

    Raises:
        ExportError: if a metric loses more than ``MOST_LOST``.
    """
    rounded = search_texts(rounding, source.dataset, list(exact.grades))
    found = _values(source, exact.features, exact.grades, rounded)
    lost = {
        metric: 1.0 - float(found[metric].mean() / values.mean())
        for metric, values in exact.values.items()
        if values.any()
    }
    worst = max(lost, key=lambda metric: lost[metric])
    if lost[worst] > MOST_LOST:
        raise ExportError(
            f"{precision} loses {lost[worst]:.1%} of {worst} on {len(exact.grades):,} valid queries, "
            f"{MOST_LOST:.1%} is allowed; export without --precision {precision}"
        )
    common, differences = _compare(exact.beams, rounded)
    return RoundedProof(common, differences, lost, len(exact.grades))


def _n_queries(source: Source, beam_width: int) -> int:
    config = source.decoder.config
    positions = config.max_prompt + beam_width * (config.levels - 1)
    return int(np.clip(MULTIPLICATIONS / (n_layer_weights(source.decoder) * positions), FEWEST, JUDGED_BY))


def _values(source: Source, features: ItemFeatures, grades: Relevance, beams: Beams) -> PerQuery:
    """Metrics of the items behind the SIDs found, ordered as the service orders them.

    Args:
        source: the decoder and its catalogue.
        features: of its items.
        grades: query → {item row: grade}; the beams stand in the order of its queries.
        beams: what was found.
    """
    queries = list(grades)
    candidates = gather_candidates(features, source.dataset, queries, beams)
    ranked = {
        query: found.order(source.ordering, DEPTH).tolist()
        for query, found in zip(queries, candidates, strict=True)
    }
    return item_values(ranked, grades, source.dataset.positive_from)


def _compare(exact: Beams, rounded: Beams) -> tuple[float, float]:
    """Share of SIDs in common, and how far their log-probabilities are apart on average."""
    shares, differences = [], []
    arrays = (exact.leaves, exact.log_probs, rounded.leaves, rounded.log_probs)
    for leaves, log_probs, others, their_log_probs in zip(*(each.numpy() for each in arrays), strict=True):
        ours = leaves[leaves >= 0]
        _, left, right = np.intersect1d(ours, others, return_indices=True)
        shares.append(len(left) / len(ours))
        differences.append(np.abs(log_probs[left] - their_log_probs[right]))
    return float(np.mean(shares)), float(np.concatenate(differences).mean())
