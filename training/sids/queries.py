"""What a decoder is told about queries: embeddings like those of the items, and pseudo-queries."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sid import LexicalIndex
from training.data.items import item_texts
from training.dataset import PSEUDO_EMBEDDINGS, PSEUDO_QUERIES, QUERIES, QUERY_EMBEDDINGS, PseudoQueries
from training.sids.embedders import EmbeddingSource, embed_texts
from training.sids.pseudo_queries import cut_pseudo_queries
from training.sids.teacher import Teacher

LEXICAL = "lexical.npz"
WRITTEN = (QUERIES, QUERY_EMBEDDINGS, PSEUDO_QUERIES, PSEUDO_EMBEDDINGS, LEXICAL)


# Told what is to be done and to how many texts; gives what to call with the number of those just done.
Expect = Callable[[str, int], Callable[[int], None]]


@dataclass(frozen=True)
class QueryKnowledge:
    """The queries of a data directory, its pseudo-queries, and the lexical index of its items.

    Attributes:
        queries: distinct texts of sessions and judgments, sorted.
        embeddings: float32 [n_queries, d].
        pseudo: what is cut out of titles.
        lexical: over the texts of the items.
        seconds: what each took.
    """

    queries: list[str]
    embeddings: NDArray[np.float32]
    pseudo: PseudoQueries
    lexical: LexicalIndex
    seconds: dict[str, float]

    def save(self, directory: Path) -> None:
        """Write the files of ``WRITTEN``."""
        pq.write_table(pa.table({"query": pa.array(self.queries, pa.string())}), directory / QUERIES)
        np.save(directory / QUERY_EMBEDDINGS, self.embeddings)
        depth = self.pseudo.items.shape[1]
        items = pa.FixedSizeListArray.from_arrays(pa.array(self.pseudo.items.ravel(), pa.int32()), depth)
        texts = pa.array(self.pseudo.texts, pa.string())
        pq.write_table(pa.table({"query": texts, "items": items}), directory / PSEUDO_QUERIES)
        np.save(directory / PSEUDO_EMBEDDINGS, self.pseudo.embeddings)
        self.lexical.save(directory / LEXICAL)


def gather_query_knowledge(
    data: Path,
    items: pa.Table,
    source: EmbeddingSource,
    item_embeddings: NDArray[np.float32],
    pseudo_per_item: int,
    seed: int,
    expect: Expect,
) -> QueryKnowledge:
    """Embed the queries, cut pseudo-queries and have a teacher find their items.

    Args:
        data: directory written by ``radsearch prepare``.
        items: its items.
        source: what embedded the items.
        item_embeddings: float32 [n_items, d].
        pseudo_per_item: pseudo-queries per title.
        seed: of the cuts.
        expect: shows how far it is.
    """
    started = time.perf_counter()
    dim = item_embeddings.shape[1]
    queries = distinct_queries(data)
    on_queries = expect(f"Embedding {len(queries):,} queries", len(queries))
    embeddings = embed_texts(source, queries, dim, on_queries)
    embedded = time.perf_counter()
    lexical = LexicalIndex.from_texts(item_texts(items))
    indexed = time.perf_counter()
    cuts = cut_pseudo_queries(items["title"].to_pylist(), pseudo_per_item, np.random.default_rng(seed))
    on_cuts = expect(f"Embedding {len(cuts):,} pseudo-queries", len(cuts))
    cut_embeddings = embed_texts(source, cuts, dim, on_cuts)
    on_taught = expect("Finding their items", len(cuts))
    found = Teacher(lexical, item_embeddings).best(cuts, cut_embeddings, on_taught)
    seconds = {
        "queries": embedded - started,
        "lexical index": indexed - embedded,
        "pseudo-queries": time.perf_counter() - indexed,
    }
    return QueryKnowledge(queries, embeddings, PseudoQueries(cuts, found, cut_embeddings), lexical, seconds)


def distinct_queries(data: Path) -> list[str]:
    """The texts of all sessions and judgments, each once, sorted."""
    files = [data / "sessions.parquet", data / "judgments.parquet"]
    columns = [pq.read_table(file, columns=["query"])["query"] for file in files if file.exists()]
    chunks = [chunk for column in columns for chunk in column.chunks]
    queries: list[str] = pc.unique(pa.chunked_array(chunks, pa.string())).to_pylist()
    return sorted(queries)
