"""Give every item of a data directory a SID."""

import shutil
import tempfile
import time
from collections.abc import Callable
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
from training.sids.embedders import Embeddings, embed_items, read_embeddings
from training.sids.kmeans import train_quantizer

REPORT = "sids.json"
EMBEDDED = ("item_embeddings.npy", "embedder", *queries.WRITTEN)
QUANTIZED = ("quantizer.npz", "sids.npz")
KEPT = "kept"  # the choice of an embedder that leaves everything embedded as it lies


@dataclass(frozen=True)
class SidSettings:
    """How SIDs are made.

    Attributes:
        embedder: "tfidf", "sentence:PATH", "npy:PATH", or "kept" for the embeddings of the last run.
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
    staging = Path(tempfile.mkdtemp(prefix=".sids-", dir=data))
    try:
        if settings.embedder == KEPT:
            embeddings = read_embeddings(data / "item_embeddings.npy", len(items))
            written, seconds = QUANTIZED, {}
        else:
            embeddings, seconds = _embed(data, items, settings, progress, staging)
            written = (*EMBEDDED, *QUANTIZED)
        started = time.perf_counter()
        training = progress.add_task("Training codebooks", total=len(settings.codebooks))
        quantizer = train_quantizer(
            embeddings,
            settings.codebooks,
            settings.seed,
            on_level=lambda: progress.advance(training),
            balanced=settings.balanced,
        )
        table = SidTable.from_item_codes(quantizer.encode(embeddings), quantizer.codebook_sizes)
        seconds["quantize"] = time.perf_counter() - started
        quantizer.save(staging / "quantizer.npz")
        table.save(staging / "sids.npz")
        result = {
            "settings": asdict(settings),
            "dim": embeddings.shape[1],
            "seconds": {stage: round(spent, 3) for stage, spent in seconds.items()},
            **report(table, quantizer, embeddings).to_dict(),
        }
        (staging / REPORT).write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        _move_in(staging, data, written)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return result


def _embed(
    data: Path, items: pa.Table, settings: SidSettings, progress: Progress, target: Path
) -> tuple[Embeddings, dict[str, float]]:
    """Embed items and queries and write what ``EMBEDDED`` names into ``target``.

    Returns:
        The items' embeddings, and the seconds of each stage.
    """

    def expect(what: str, n_texts: int) -> Callable[[int], None]:
        return partial(progress.advance, progress.add_task(what, total=n_texts))

    started = time.perf_counter()
    texts = item_texts(items)
    source, embeddings = embed_items(
        settings.embedder,
        texts,
        settings.dim,
        settings.seed,
        on_items=expect(f"Embedding {len(texts):,} items", len(texts)),
    )
    seconds = {"embed": time.perf_counter() - started}
    knowledge = queries.gather_query_knowledge(
        data, items, source, embeddings, settings.pseudo_queries, settings.seed, expect
    )
    (target / "embedder").mkdir()
    source.save(target / "embedder")
    np.save(target / "item_embeddings.npy", embeddings)
    knowledge.save(target)
    return embeddings, {**seconds, **knowledge.seconds}


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


def _move_in(staging: Path, data: Path, names: tuple[str, ...]) -> None:
    """Put the new files in place of the old ones.

    The report goes first and comes last, so that files of two runs never stand together with a report.
    """
    old = staging / "old"
    old.mkdir()
    for name in (REPORT, *names):
        if (data / name).exists():
            (data / name).rename(old / name)
    for name in (*names, REPORT):
        (staging / name).rename(data / name)
