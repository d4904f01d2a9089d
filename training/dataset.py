"""A data directory, read back: what training and evaluation work on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sid import LexicalIndex, SidTable
from training.data.errors import DataError
from training.data.items import POPULARITY
from training.data.splits import Split
from training.tokenizer import load as load_tokenizer

Rows = NDArray[np.int32]

# What ``radsearch sids`` adds about queries.
QUERIES, QUERY_EMBEDDINGS = "queries.parquet", "query_embeddings.npy"
PSEUDO_QUERIES, PSEUDO_EMBEDDINGS = "pseudo_queries.parquet", "pseudo_query_embeddings.npy"


@dataclass(frozen=True)
class Session:
    """One query with what a user chose and passed over.

    Attributes:
        query: its text.
        positives, negatives: item rows, int32; a positive is no negative.
    """

    query: str
    positives: Rows
    negatives: Rows


@dataclass(frozen=True)
class PseudoQueries:
    """Queries cut out of titles, with the items that a teacher finds for them.

    Attributes:
        texts: one per pseudo-query.
        items: int32 [n, depth], item rows, best first.
        embeddings: float32 [n, d].
    """

    texts: list[str]
    items: Rows
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """A data directory written by ``radsearch prepare`` and ``radsearch sids``.

    Attributes:
        path: the directory.
        item_ids, titles: by item row.
        popularity: float32 [n_items], training sessions in which the item is a positive.
        item_embeddings: float32 [n_items, d], unit rows.
        sids: the SID of every item.
        lexical: BM25 over the items.
        tokenizer: turns a query into a prompt.
        positive_from: grade from which an item counts as relevant.
        query_rows: where in ``query_embeddings`` each query of the sessions and judgments is.
        query_embeddings: float32 [n_queries, d], by the embedder of the items.
    """

    path: Path
    item_ids: list[str]
    titles: list[str]
    popularity: NDArray[np.float32]
    item_embeddings: NDArray[np.float32]
    sids: SidTable
    lexical: LexicalIndex
    tokenizer: Tokenizer
    positive_from: float
    query_rows: dict[str, int]
    query_embeddings: NDArray[np.float32]

    @classmethod
    def load(cls, path: Path) -> "Dataset":
        """Read a data directory.

        Raises:
            DataError: if a file is missing or the files are not of one catalogue.
        """
        items = pq.read_table(
            _made_by(path / "items.parquet", "prepare"), columns=["item_id", "title", POPULARITY]
        )
        embeddings = _embeddings(path / "item_embeddings.npy")
        sids = SidTable.load(_made_by(path / "sids.npz", "sids"))
        lexical = LexicalIndex.load(_made_by(path / "lexical.npz", "sids"))
        if not len(items) == len(embeddings) == sids.n_items == lexical.n_items:
            raise DataError(
                f"{path} has {len(items):,} items, {len(embeddings):,} embeddings, {sids.n_items:,} SIDs and "
                f"{lexical.n_items:,} texts in its lexical index; run 'radsearch sids' again"
            )
        queries = pq.read_table(_made_by(path / QUERIES, "sids"))["query"].to_pylist()
        settings = orjson.loads(_made_by(path / "prepare.json", "prepare").read_bytes())["settings"]
        return cls(
            path=path,
            item_ids=items["item_id"].to_pylist(),
            titles=items["title"].to_pylist(),
            popularity=items[POPULARITY].to_numpy(),
            item_embeddings=embeddings,
            sids=sids,
            lexical=lexical,
            tokenizer=load_tokenizer(_made_by(path / "tokenizer.json", "prepare")),
            positive_from=settings["positive_from"] if _judgments(path).exists() else 1.0,
            query_rows={query: row for row, query in enumerate(queries)},
            query_embeddings=_embeddings(path / QUERY_EMBEDDINGS),
        )

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    def embed(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of queries of the sessions and judgments: float32 [n, d].

        Raises:
            DataError: if one of them is not among these.
        """
        try:
            rows = [self.query_rows[query] for query in queries]
        except KeyError as error:
            raise DataError(
                f"{self.path / QUERY_EMBEDDINGS} lacks the query {error}; run 'radsearch sids' again"
            ) from error
        return self.query_embeddings[rows]

    def pseudo_queries(self) -> PseudoQueries:
        """The pseudo-queries that ``radsearch sids`` made; none where it was told to make none."""
        table = pq.read_table(_made_by(self.path / PSEUDO_QUERIES, "sids"))
        items = table["items"].combine_chunks()
        depth = len(items.values) // max(len(items), 1)
        return PseudoQueries(
            table["query"].to_pylist(),
            items.values.to_numpy().reshape(len(items), depth),
            _embeddings(self.path / PSEUDO_EMBEDDINGS),
        )

    def sessions(self, split: Split) -> list[Session]:
        """The sessions of a split, in the order of the file they came from."""
        table = _of_split(self.path / "sessions.parquet", split)
        columns = (table["query"].to_pylist(), _lists(table["positives"]), _lists(table["negatives"]))
        return [Session(*row) for row in zip(*columns, strict=True)]

    def relevance(self, split: Split) -> dict[str, dict[int, float]]:
        """How relevant which items are to the queries of a split.

        Returns:
            query → {item row: grade}; from judgments where there are any, else the positives of all sessions
            of the query, each with grade 1.
        """
        grades: dict[str, dict[int, float]] = {}
        if _judgments(self.path).exists():
            table = _of_split(_judgments(self.path), split)
            rows: Any = zip(*(table[name].to_pylist() for name in ("query", "item", "grade")), strict=True)
            for query, item, grade in rows:
                grades.setdefault(query, {})[item] = grade
            return grades
        for session in self.sessions(split):
            grades.setdefault(session.query, {}).update(dict.fromkeys(session.positives.tolist(), 1.0))
        return grades

    def item_prior(self) -> NDArray[np.float32]:
        """log(1 + popularity), scaled to 0..1; zeros where no item was ever chosen. float32 [n_items]."""
        logs: NDArray[np.float32] = np.log1p(self.popularity)
        prior: NDArray[np.float32] = logs / max(logs.max(), np.float32(1e-9))
        return prior


def _embeddings(path: Path) -> NDArray[np.float32]:
    embeddings: NDArray[np.float32] = np.load(_made_by(path, "sids"), allow_pickle=False)
    return embeddings


def _judgments(path: Path) -> Path:
    return path / "judgments.parquet"


def _made_by(path: Path, command: str) -> Path:
    if not path.is_file():
        raise DataError(f"{path} not found; write it with 'radsearch {command}'")
    return path


def _of_split(path: Path, split: Split) -> pa.Table:
    return pq.read_table(_made_by(path, "prepare"), filters=pc.field("split") == split)


def _lists(column: pa.ChunkedArray) -> list[Rows]:
    """A column of lists as one array per row, all of them views into one buffer."""
    array = column.combine_chunks()
    values, offsets = array.values.to_numpy(), array.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise(offsets)]
