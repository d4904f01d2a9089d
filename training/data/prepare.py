"""Items, sessions and judgments become one data directory, checked and split by query."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.atomic import written_whole
from training.data.errors import DataError
from training.data.items import POPULARITY, Items, load_items
from training.data.judgments import Judgments, load_judgments
from training.data.rejects import OnError, Rejects
from training.data.sessions import Sessions, load_sessions
from training.data.splits import SPLITS, QuerySplits, split_of
from training.tokenizer import train_tokenizer

MARKER = "prepare.json"


@dataclass(frozen=True)
class PrepareSettings:
    """How files are read and the tokenizer is trained.

    Attributes:
        positive_from: grade from which a judged item is relevant.
        negative_to: grade up to which a judged item is a negative; used where sessions are made of judgments.
        on_error: what a bad row does.
        vocab_size: most tokens of the tokenizer.
        fold: whether the tokenizer takes case and accents away.
        max_prompt: tokens of the longest prompt.
    """

    positive_from: float = 2.5
    negative_to: float = 2.0
    on_error: OnError = "fail"
    vocab_size: int = 4096
    fold: bool = True
    max_prompt: int = 32


def prepare(
    items_path: Path,
    sessions_path: Path | None,
    judgments_path: Path | None,
    out: Path,
    settings: PrepareSettings,
) -> dict[str, Any]:
    """Read, check, split and write; ``out`` is replaced when all of it is there.

    With sessions and judgments, sessions train and judgments judge; with judgments alone, sessions are made
    from them. A query's split is the one its judgments give, else its sessions, else the hash of its text.

    Returns:
        The report, also written as ``prepare.json``.

    Raises:
        DataError: for files that cannot be used, thresholds that cross, or a bad row where those are fatal.
    """
    if not sessions_path and settings.negative_to >= settings.positive_from:
        raise DataError(
            f"--negative-to {settings.negative_to} is not below --positive-from {settings.positive_from}; "
            "an item cannot be both"
        )
    rejects = Rejects(settings.on_error)
    items = load_items(items_path, rejects)
    judgments = load_judgments(judgments_path, items, rejects) if judgments_path else None
    sessions = _sessions(sessions_path, judgments, items, rejects, settings)
    given = [part.splits for part in (judgments, sessions) if part]
    with written_whole(out, MARKER) as directory:
        session_splits = _split(sessions.queries, given)
        training = [split == "train" for split in session_splits]
        table = items.table.append_column(
            POPULARITY, pa.array(_popularity(sessions, training, len(items.rows)))
        )
        pq.write_table(table, directory / "items.parquet")
        pq.write_table(sessions.table(session_splits), directory / "sessions.parquet")
        report = _report(items, sessions, session_splits, rejects, settings)
        if judgments:
            queries = list(judgments.grades)
            splits = dict(zip(queries, _split(queries, given), strict=True))
            pq.write_table(judgments.table(splits), directory / "judgments.parquet")
            report["judgments"] = {"grades": judgments.n_grades, "queries": _counted(list(splits.values()))}
        queries = [query for query, learn in zip(sessions.queries, training, strict=True) if learn]
        texts = items.table["title"].to_pylist() + list(dict.fromkeys(queries))
        tokenizer = train_tokenizer(texts, settings.vocab_size, settings.fold, settings.max_prompt)
        tokenizer.save(str(directory / "tokenizer.json"))
        report["tokenizer"] = {"vocab_size": tokenizer.get_vocab_size()}
        (directory / MARKER).write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return report


def _sessions(
    path: Path | None, judgments: Judgments | None, items: Items, rejects: Rejects, settings: PrepareSettings
) -> Sessions:
    if path:
        return load_sessions(path, items, rejects)
    if judgments:
        return judgments.sessions(settings.positive_from, settings.negative_to)
    return Sessions()


def _split(queries: list[str], given: list[QuerySplits]) -> list[str]:
    known = {query: split_of(query, *given) for query in dict.fromkeys(queries)}
    return [known[query] for query in queries]


def _popularity(
    sessions: Sessions, training: list[bool], n_items: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Count in how many training sessions each item is a positive, float32 [n_items]."""
    counts = np.zeros(n_items, dtype=np.float32)
    for positives, learn in zip(sessions.positives, training, strict=True):
        if learn:
            counts[positives] += 1  # positives have no repeats
    return counts


def _report(
    items: Items, sessions: Sessions, splits: list[str], rejects: Rejects, settings: PrepareSettings
) -> dict[str, Any]:
    by_query = dict(zip(sessions.queries, splits, strict=True))
    return {
        "items": {
            "count": len(items.rows),
            "attributes": {
                field.name: str(field.type)
                for field in items.table.schema
                if field.name not in ("item_id", "title")
            },
        },
        "sessions": {
            "count": _counted(splits),
            "queries": _counted(list(by_query.values())),
            "positives": sum(map(len, sessions.positives)),
            "negatives": sum(map(len, sessions.negatives)),
        },
        "rejected": {"total": rejects.total, "by_reason": dict(rejects.counts), "first": rejects.shown},
        "settings": asdict(settings),
    }


def _counted(splits: list[str]) -> dict[str, int]:
    counts = Counter(splits)
    return {split: counts[split] for split in SPLITS}
