"""Give every item of a data directory a SID."""

import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from sid import SidTable
from sid.report import report
from training.data.errors import DataError
from training.data.items import item_texts
from training.sids import queries
from training.sids.embedders import embed_items
from training.sids.kmeans import train_quantizer

REPORT = "sids.json"
WRITTEN = ("item_embeddings.npy", "embedder", *queries.WRITTEN, "quantizer.npz", "sids.npz", REPORT)


@dataclass(frozen=True)
class SidSettings:
    """How SIDs are made.

    Attributes:
        embedder: "tfidf", "sentence:PATH" or "npy:PATH".
        codebooks: centroids per level.
        dim: size of TF-IDF embeddings.
        pseudo_queries: how many to cut out of each title.
        seed: of SVD, k-means and cuts.
        balanced: whether codes share the items evenly.
    """

    embedder: str = "tfidf"
    codebooks: tuple[int, ...] = (64, 64, 64)
    dim: int = 128
    pseudo_queries: int = 2
    seed: int = 0
    balanced: bool = False


def build_sids(data: Path, settings: SidSettings, progress: Progress) -> dict[str, Any]:
    """Embed the items, train the codebooks, and write embeddings, embedder, codebooks, SIDs and report.

    Args:
        data: directory written by ``radsearch prepare``; the files of an earlier run are replaced.
        settings: how.
        progress: shows the items embedded and the levels trained.

    Returns:
        The report, also written as ``sids.json``.

    Raises:
        DataError: if the directory or the embedder cannot be used.
    """
    items = read_items(data / "items.parquet")
    texts = item_texts(items)
    started = time.perf_counter()
    embedding = progress.add_task(f"Embedding {len(texts):,} items", total=len(texts))
    source, embeddings = embed_items(
        settings.embedder,
        texts,
        settings.dim,
        settings.seed,
        on_items=lambda n_items: progress.advance(embedding, n_items),
    )
    embedded = time.perf_counter()
    knowledge = queries.gather_query_knowledge(
        data,
        items,
        source,
        embeddings,
        settings.pseudo_queries,
        settings.seed,
        lambda what, n_texts: partial(progress.advance, progress.add_task(what, total=n_texts)),
    )
    asked = time.perf_counter()
    training = progress.add_task("Training codebooks", total=len(settings.codebooks))
    quantizer = train_quantizer(
        embeddings,
        settings.codebooks,
        settings.seed,
        on_level=lambda: progress.advance(training),
        balanced=settings.balanced,
    )
    table = SidTable.from_item_codes(quantizer.encode(embeddings), quantizer.codebook_sizes)
    quantized = time.perf_counter()
    seconds = {"embed": embedded - started, **knowledge.seconds, "quantize": quantized - asked}
    result = {
        "settings": asdict(settings),
        "dim": embeddings.shape[1],
        "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
        **report(table, quantizer, embeddings).to_dict(),
    }
    staging = Path(tempfile.mkdtemp(prefix=".sids-", dir=data))
    try:
        (staging / "embedder").mkdir()
        source.save(staging / "embedder")
        np.save(staging / "item_embeddings.npy", embeddings)
        knowledge.save(staging)
        quantizer.save(staging / "quantizer.npz")
        table.save(staging / "sids.npz")
        (staging / REPORT).write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        _move_in(staging, data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return result


def read_items(path: Path) -> pa.Table:
    """Read ``items.parquet``.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} not found; write it with 'radsearch prepare'") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path} cannot be read ({error}); write it again with 'radsearch prepare'"
        ) from error


def _move_in(staging: Path, data: Path) -> None:
    """Put the new files in place of the old ones.

    The report goes first and comes last, so that files of two runs never stand together with a report.
    """
    old = staging / "old"
    old.mkdir()
    for name in reversed(WRITTEN):
        if (data / name).exists():
            (data / name).rename(old / name)
    for name in WRITTEN:
        (staging / name).rename(data / name)
