"""How good rankings are, and how sure we can be of it: ir_measures per query, bootstrap over queries."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import ir_measures
import numpy as np
from ir_measures import RR, Measure, R, nDCG
from numpy.typing import NDArray

from sid import SidTable

RESAMPLES = 1000
CONFIDENCE = 0.95
GRADE_STEPS = 100  # trec_eval takes whole grades; a mean of raters' grades keeps two decimals

ITEM_RECALLS = (10, 100)
SID_RECALLS = (8, 64, 128)

Relevance = Mapping[str, Mapping[int, float]]
Rankings = Mapping[str, Sequence[int]]
PerQuery = dict[str, NDArray[np.float64]]  # metric → one value per query


@dataclass(frozen=True)
class Interval:
    """A mean over queries and the interval it moves in when the queries are drawn again."""

    mean: float
    low: float
    high: float


def intervals(values: PerQuery, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap: draw as many queries with replacement, 1000 times, keep the middle 95% of means.

    All metrics are judged on the same draws.

    Args:
        values: per metric, float64 [n_queries]; n_queries ≥ 1, the same for all.
        seed: of the draws.
    """
    n_queries = len(next(iter(values.values())))
    draws = np.random.default_rng(seed).multinomial(n_queries, np.full(n_queries, 1 / n_queries), RESAMPLES)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    result = {}
    for name, value in values.items():
        low, high = np.quantile(draws @ value / n_queries, tails)
        result[name] = Interval(float(value.mean()), float(low), float(high))
    return result


def relevant_items(relevance: Relevance, positive_from: float) -> dict[str, list[int]]:
    """Items with a grade ≥ ``positive_from``, for every query that has one."""
    relevant = {
        query: [item for item, grade in grades.items() if grade >= positive_from]
        for query, grades in relevance.items()
    }
    return {query: items for query, items in relevant.items() if items}


def item_values(ranked: Rankings, relevance: Relevance, positive_from: float) -> PerQuery:
    """Item Recall@{10, 100}, Item MRR and NDCG@10 of every query that has a relevant item.

    Recall and MRR count items with a grade ≥ ``positive_from``. NDCG's gain is the grade itself, linear as
    in trec_eval and not 2^grade − 1, discounted by log2(rank + 1); items without a judgment gain nothing.

    Args:
        ranked: query → item rows, best first, without repeats; a query without an entry found nothing.
        relevance: query → {item row: grade}.
        positive_from: grade from which an item is relevant.

    Returns:
        Values in the order of ``relevance``.
    """
    relevant = relevant_items(relevance, positive_from)
    gains = {
        query: {item: round(grade * GRADE_STEPS) for item, grade in relevance[query].items()}
        for query in relevant
    }
    recalls = {f"Item Recall@{k}": R @ k for k in ITEM_RECALLS}
    binary = _measure({**recalls, "Item MRR": RR}, ranked, _as_gains(relevant))
    return {**binary, **_measure({"NDCG@10": nDCG @ 10}, ranked, gains)}


def sid_values(ranked: Rankings, relevant: Mapping[str, Collection[int]], beam_width: int) -> PerQuery:
    """SID Recall@{8, 64, 128} up to the beam width, and SID MRR, of every query.

    Args:
        ranked: query → leaves, most likely first.
        relevant: query → leaves that hold a relevant item, at least one.
        beam_width: a recall deeper than the beam would be that of a shallower ranking, so it is left out.
    """
    recalls = {f"SID Recall@{k}": R @ k for k in SID_RECALLS if k <= beam_width}
    return _measure({**recalls, "SID MRR": RR}, ranked, _as_gains(relevant))


def hallucination_values(sids: NDArray[np.integer], table: SidTable) -> PerQuery:
    """Share of each query's unconstrained beams that are no SID of the table.

    Args:
        sids: int [n_queries, K, L]; −1 codes, where fewer than K exist, are left out.
        table: the SIDs that exist.
    """
    filled = (sids >= 0).all(axis=-1)
    unknown = filled & (table.find(sids) < 0)
    return {"Hallucination rate": unknown.sum(axis=1) / filled.sum(axis=1)}


def item_metrics(ranked: Rankings, relevance: Relevance, positive_from: float) -> dict[str, Interval]:
    """:func:`item_values` as means with intervals."""
    return intervals(item_values(ranked, relevance, positive_from))


def sid_metrics(
    ranked: Rankings, relevant: Mapping[str, Collection[int]], beam_width: int
) -> dict[str, Interval]:
    """:func:`sid_values` as means with intervals."""
    return intervals(sid_values(ranked, relevant, beam_width))


def _as_gains(relevant: Mapping[str, Collection[int]]) -> dict[str, dict[int, int]]:
    return {query: dict.fromkeys(rows, 1) for query, rows in relevant.items()}


def _measure(
    measures: Mapping[str, Measure], ranked: Rankings, gains: Mapping[str, Mapping[int, int]]
) -> PerQuery:
    """Ask ir_measures; queries without a ranking have the value 0."""
    names = {measure: name for name, measure in measures.items()}
    values = {name: np.zeros(len(gains)) for name in measures}
    qrels, run = {}, {}
    for row, (query, of_query) in enumerate(gains.items()):
        qrels[str(row)] = {str(key): gain for key, gain in of_query.items()}
        # Scores only carry the order; trec_eval reads them as float32, which holds whole ranks exactly.
        found = {str(key): float(-rank) for rank, key in enumerate(ranked.get(query, ()))}
        if found:
            run[str(row)] = found
    for metric in ir_measures.iter_calc(list(measures.values()), qrels, run):
        values[names[metric.measure]][int(metric.query_id)] = metric.value
    return values
