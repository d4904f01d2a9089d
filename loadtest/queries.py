"""The stream of queries that shoppers send."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.errors import LoadtestError
from loadtest.wording import reworded

SHIPPED_QUERIES = Path(__file__).with_name("queries.txt")


def load_queries(path: Path) -> list[str]:
    """Read the distinct queries of a file, most frequent first.

    A text file has one query per line; a ``.jsonl`` file has objects with a ``query``, so that a sessions
    file works as it is. Queries that occur equally often keep the order of the file.

    Raises:
        LoadtestError: the file is missing, is not UTF-8, has a row without a query, or has none at all.
    """
    read = _jsonl_queries if path.suffix == ".jsonl" else _text_queries
    try:
        counts = Counter(read(path))
    except OSError as error:
        raise LoadtestError(f"Cannot read {path} ({error.strerror}); pass --queries FILE.") from error
    except UnicodeDecodeError as error:
        raise LoadtestError(f"{path} is not UTF-8 (byte {error.start}); convert it and try again.") from error
    if not counts:
        raise LoadtestError(f"{path} has no queries; write one per line.")
    return [query for query, _ in counts.most_common()]


def zipf_stream(queries: Sequence[str], exponent: float, rng: random.Random) -> Iterator[str]:
    """Draw queries for ever, the one at index ``r`` in proportion to ``1 / (r + 1) ** exponent``."""
    frequencies = itertools.accumulate((rank + 1) ** -exponent for rank in range(len(queries)))
    cumulative = list(frequencies)
    while True:
        yield rng.choices(queries, cum_weights=cumulative)[0]


def query_stream(
    queries: Sequence[str], exponent: float, synthetic: float, rng: random.Random
) -> Iterator[str]:
    """Draw queries for ever by Zipf's law, some of them reworded.

    Args:
        queries: distinct, most frequent first.
        exponent: of Zipf's law.
        synthetic: share of the queries that are reworded, 0..1; few of these come twice, so a server cannot
            answer them from a cache.
        rng: that draws.
    """
    for query in zipf_stream(queries, exponent, rng):
        yield reworded(query, queries, rng) if rng.random() < synthetic else query


def _text_queries(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if query := line.strip():
                yield query


def _jsonl_queries(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise LoadtestError(f"{path.name}:{number}: {error.msg}; fix the row.") from error
            query = row.get("query") if isinstance(row, dict) else None
            if not isinstance(query, str) or not query.strip():
                raise LoadtestError(f'{path.name}:{number}: no "query" with text in it; fix the row.')
            yield query.strip()
