"""An evaluation as one HTML page that stands alone."""

from collections.abc import Mapping

import numpy as np

from reports.axes import Axis
from reports.intervals import Interval
from reports.page import cell, facts, note, page, plots, section, table, verdict
from reports.plots import bars, ecdf
from training.evaluate import Evaluation
from training.metrics import CONFIDENCE

MEAN = Axis("mean over queries, 0 to 1", from_zero=True)
VALUE = Axis("value of a query, 0 to 1", from_zero=True)
BY_QUERY = ("NDCG@10", "Item Recall@10", "Item MRR")
N_WORST = 20


def render(evaluation: Evaluation, made_with: Mapping[str, object]) -> str:
    """Make the page; ``made_with`` is what it takes to measure again."""
    headline = evaluation.metrics["NDCG@10"]
    queries = f"{len(evaluation.queries):,} {evaluation.origin} queries, beam width {evaluation.beam_width}."
    interval = f"{CONFIDENCE:.0%} interval {headline.low:.4f} to {headline.high:.4f}"
    said = f"NDCG@10 is {headline.mean:.4f}, {interval}."
    return page(
        f"Evaluation on {evaluation.origin} queries",
        [
            verdict([said, queries]),
            section("Metrics", _means(evaluation), plots(_bars(evaluation))),
            section("Query by query", plots([_distribution(evaluation)]), *_worst(evaluation)),
            section("Settings", facts(made_with)),
        ],
    )


def _means(evaluation: Evaluation) -> str:
    rows = [
        [name, *(cell(f"{value:.4f}") for value in (interval.mean, interval.low, interval.high))]
        for name, interval in evaluation.metrics.items()
    ]
    sentences = [
        f"Means over queries with {CONFIDENCE:.0%} bootstrap intervals.",
        "The hallucination rate is the share of unconstrained beams that are no SID: less is better.",
    ]
    if evaluation.n_without_relevant:
        sentences.append(f"{evaluation.n_without_relevant:,} queries have no relevant item and are left out.")
    return note(*sentences) + table(["metric", "mean", "low", "high"], rows)


def _bars(evaluation: Evaluation) -> list[str]:
    """Of items, and of the SIDs they are looked for in."""
    groups = {"Items": ("Item ", "NDCG"), "SIDs": ("SID ",)}
    return [
        bars(
            title,
            {
                name.removeprefix(starts[0]): Interval(**vars(interval))
                for name, interval in evaluation.metrics.items()
                if name.startswith(starts)
            },
            MEAN,
        )
        for title, starts in groups.items()
    ]


def _distribution(evaluation: Evaluation) -> str:
    samples = {name: evaluation.values[name] for name in BY_QUERY}
    return ecdf("Queries by how well they are answered", samples, VALUE)


def _worst(evaluation: Evaluation) -> list[str]:
    """The queries to look at first."""
    deepest = max(
        (name for name in evaluation.values if name.startswith("SID Recall")),
        key=lambda name: int(name.partition("@")[2]),
        default="SID MRR",
    )
    columns = ("NDCG@10", "Item Recall@10", "Item Recall@100", deepest)
    values = np.array([evaluation.values[name] for name in columns])
    worst = np.lexsort(values[::-1])[:N_WORST]  # by the first column, then by the others
    rows = [
        [evaluation.queries[query], *(cell(f"{value:.4f}") for value in values[:, query])] for query in worst
    ]
    told = note(
        f"The {len(rows)} worst. Where {deepest} is 0 the beam has missed the relevant items;",
        "above 0 it found some, and they were ordered too low.",
    )
    return [told, table(["query", *columns], rows)]
