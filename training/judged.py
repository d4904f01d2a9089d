"""Queries to judge a decoder by: those of a split, or those of a file of judgments."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq

from sid import RadsearchError
from training.data.items import Items
from training.data.judgments import load_judgments
from training.data.rejects import Rejects
from training.data.splits import Split
from training.dataset import Dataset
from training.metrics import Relevance, relevant_items
from training.ordering import sample
from training.sids.embedders import load_embedder

Origin = Split | Literal["judged"]


class EvaluationError(RadsearchError):
    """A checkpoint, a data directory and judgments that do not go together."""


@dataclass(frozen=True)
class JudgedQueries:
    """Queries with a relevant item.

    Attributes:
        origin: their split, or "judged" where they come from a file.
        grades: query → {item row: grade}.
        n_without_relevant: queries that were left out because they have none.
    """

    origin: Origin
    grades: dict[str, dict[int, float]]
    n_without_relevant: int


def judged_queries(
    dataset: Dataset, split: Split, max_queries: int | None = None, seed: int = 0
) -> JudgedQueries:
    """Take the queries of a split that can be judged.

    Args:
        dataset: judgments, or sessions where it has none.
        split: which queries.
        max_queries: how many at most, drawn by ``seed``; None for all.
        seed: of the draw.

    Raises:
        EvaluationError: if no query has a relevant item.
    """
    judged = _sampled(split, dataset.relevance(split), dataset.positive_from, max_queries, seed)
    if not judged.grades:
        raise EvaluationError(
            f"{dataset.path} has no {split} query with a relevant item; try another --split"
        )
    return judged


def queries_of_file(
    path: Path,
    dataset: Dataset,
    positive_from: float,
    rejects: Rejects,
    max_queries: int | None = None,
    seed: int = 0,
) -> tuple[JudgedQueries, Dataset]:
    """Take the queries of a file of judgments, which the data directory need not know.

    Args:
        path: as :func:`training.data.judgments.load_judgments` reads it.
        dataset: the catalogue.
        positive_from: grade from which an item counts as relevant.
        rejects: told of every bad row.
        max_queries: how many at most, drawn by ``seed``; None for all.
        seed: of the draw.

    Returns:
        The queries, and the dataset with their embeddings and that ``positive_from``.

    Raises:
        DataError: for a file or an embedder that cannot be used, or the first bad row where those are fatal.
        EvaluationError: if no query has a relevant item.
    """
    catalogue = dataset.path / "items.parquet"
    rows = {item_id: row for row, item_id in enumerate(dataset.item_ids)}
    grades = load_judgments(path, Items(catalogue, pq.read_table(catalogue), rows), rejects).grades
    judged = _sampled("judged", grades, positive_from, max_queries, seed)
    if not judged.grades:
        raise EvaluationError(
            f"{path} has no item of grade {positive_from:g} or more; pass a lower --positive-from"
        )
    return judged, _asked(replace(dataset, positive_from=positive_from), list(judged.grades))


def _sampled(
    origin: Origin, grades: Relevance, positive_from: float, max_queries: int | None, seed: int
) -> JudgedQueries:
    relevant = relevant_items(grades, positive_from)
    queries = sample(list(relevant), max_queries, seed)
    return JudgedQueries(
        origin, {query: dict(grades[query]) for query in queries}, len(grades) - len(relevant)
    )


def _asked(dataset: Dataset, queries: list[str]) -> Dataset:
    """The dataset with these queries and no others, embedded as its items are."""
    embedder = load_embedder(dataset.path / "embedder")
    shape = len(queries), dataset.item_embeddings.shape[1]
    embeddings = np.zeros(shape, np.float32) if embedder is None else embedder.embed(queries)
    return replace(
        dataset,
        query_rows={query: row for row, query in enumerate(queries)},
        query_embeddings=embeddings,
    )
