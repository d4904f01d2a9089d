"""The synthetic shop as files: items, sessions, true judgments, and a summary with the share of noise."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from training.data.atomic import written_whole
from training.data.errors import DataError
from training.data.splits import SPLITS, hash_split
from training.shop.catalogue import load_catalogue
from training.shop.clicks import Pages, simulate_pages
from training.shop.queries import Query, make_queries, query_frequency
from training.shop.relevance import Answers, Relevance
from training.shop.stock import Stock, make_stock

MARKER = "shop.json"
ITEMS_PER_CATEGORY = 10  # a small shop has fewer categories rather than one item of each
QUERIES_PER_ITEM = 1.6
SESSIONS_PER_ITEM = 6
SESSIONS_PER_USER = 5
MAX_NEAR_MISSES = (
    50  # judged items of grade 1 per query, the most popular first; grades 2 and 3 are all there
)
FIRST_SECOND, LAST_SECOND = 1_735_689_600, 1_738_367_999  # January 2025, UTC


@dataclass(frozen=True)
class ShopSettings:
    """What decides every byte of a shop.

    Attributes:
        items: how many.
        seed: of everything random.
        noise: how far sessions are from true relevance, 0..1; see ``clicks.simulate_pages``.
    """

    items: int = 5000
    seed: int = 0
    noise: float = 0.3


@dataclass(frozen=True)
class Shop:
    """A shop with what is true in it.

    Attributes:
        stock: items and their popularity.
        queries: distinct texts.
        answers: true relevance, per query.
        pages: result pages per query, with the users' choices.
    """

    stock: Stock
    queries: list[Query]
    answers: list[Answers]
    pages: list[Pages]


def make_shop(settings: ShopSettings) -> Shop:
    """Build a shop in memory; equal settings give an equal shop."""
    catalogue = load_catalogue()
    catalogue = catalogue.first(max(settings.items // ITEMS_PER_CATEGORY, 1))
    stock = make_stock(catalogue, settings.items, settings.seed)
    relevance = Relevance(catalogue, stock.items)
    queries = make_queries(catalogue, stock, round(settings.items * QUERIES_PER_ITEM), settings.seed)
    answers = [relevance.answers(query.intent) for query in queries]
    return Shop(stock, queries, answers, _pages(stock, queries, answers, settings))


def _pages(stock: Stock, queries: list[Query], answers: list[Answers], settings: ShopSettings) -> list[Pages]:
    """Every query is searched once, the rest of the searches by how frequent it is."""
    random = np.random.default_rng([settings.seed, 0])
    n_perfect = [len(answer.of_grade(3)) for answer in answers]
    frequency = query_frequency(queries, n_perfect, settings.seed)
    more = max(settings.items * SESSIONS_PER_ITEM - len(queries), 0)
    n_pages = 1 + random.multinomial(more, frequency)
    log_popularity = np.log(stock.popularity)
    log_popularity -= log_popularity.mean()
    departments = np.array([item["department"] for item in stock.items])
    mates = {name: np.flatnonzero(departments == name).astype(np.int32) for name in set(departments.tolist())}
    pages = []
    for answer, n in zip(answers, n_pages.tolist(), strict=True):
        department = mates[departments[answer.of_grade(3)[0]]]
        pages.append(simulate_pages(answer, department, log_popularity, n, settings.noise, random))
    return pages


def write_shop(out: Path, settings: ShopSettings) -> dict[str, Any]:
    """Write ``items.jsonl``, ``sessions.jsonl``, ``judgments.jsonl`` and ``shop.json``.

    Returns:
        The summary, as in ``shop.json``.

    Raises:
        DataError: if noise is not in 0..1 or ``out`` holds something else.
    """
    if not 0.0 <= settings.noise <= 1.0:
        raise DataError(f"--noise {settings.noise} is not between 0 and 1")
    shop = make_shop(settings)
    with written_whole(out, MARKER) as directory:
        _write_lines(directory / "items.jsonl", shop.stock.items)
        _write_lines(directory / "sessions.jsonl", _sessions(shop, settings.seed))
        n_judgments = _write_lines(directory / "judgments.jsonl", _judgments(shop))
        summary = {**_summary(shop), "judgments": n_judgments, "settings": asdict(settings)}
        (directory / MARKER).write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
    return summary


def _sessions(shop: Shop, seed: int) -> list[dict[str, Any]]:
    """All sessions in the order of time.

    ``positions`` are those of the positives on the page, from 1; the negatives are in the page's order, so
    the page can be put together again.
    """
    random = np.random.default_rng([seed, 2])
    ids = [item["item_id"] for item in shop.stock.items]
    sessions = [
        session
        for query, pages in zip(shop.queries, shop.pages, strict=True)
        for session in _sessions_of(query.text, pages, ids)
    ]
    times = np.sort(random.integers(FIRST_SECOND, LAST_SECOND + 1, len(sessions))).tolist()
    n_users = max(len(sessions) // SESSIONS_PER_USER, 1)
    users = (n_users * random.random(len(sessions)) ** 2).astype(int).tolist()  # some search more than others
    order = random.permutation(len(sessions)).tolist()
    return [
        {**sessions[index], "user_id": f"u{user:05d}", "timestamp": second}
        for index, user, second in zip(order, users, times, strict=True)
    ]


def _sessions_of(text: str, pages: Pages, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    rows = zip(pages.items.tolist(), pages.shown.tolist(), pages.chosen.tolist(), strict=True)
    for items, shown, chosen in rows:
        page = [(ids[item], choice) for item, show, choice in zip(items, shown, chosen, strict=True) if show]
        yield {
            "query": text,
            "positives": [item_id for item_id, choice in page if choice],
            "negatives": [item_id for item_id, choice in page if not choice],
            "positions": [position for position, (_, choice) in enumerate(page, start=1) if choice],
        }


def _judgments(shop: Shop) -> Iterator[dict[str, Any]]:
    """Grades of every query, best first."""
    ids = [item["item_id"] for item in shop.stock.items]
    popularity = shop.stock.popularity
    for query, answers in zip(shop.queries, shop.answers, strict=True):
        split = hash_split(query.text)
        for grade in (3, 2, 1):
            rows = answers.of_grade(grade)
            popular_first = rows[np.argsort(-popularity[rows], kind="stable")]
            for row in popular_first[: MAX_NEAR_MISSES if grade == 1 else None].tolist():
                yield {"query": query.text, "item_id": ids[row], "grade": grade, "split": split}


def _write_lines(path: Path, rows: Sequence[dict[str, Any]] | Iterator[dict[str, Any]]) -> int:
    """Write rows as JSON lines; tell how many."""
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def _summary(shop: Shop) -> dict[str, Any]:
    splits = [hash_split(query.text) for query in shop.queries]
    return {
        "items": len(shop.stock.items),
        "departments": len({item["department"] for item in shop.stock.items}),
        "categories": len({item["category"] for item in shop.stock.items}),
        "brands": len({item["brand"] for item in shop.stock.items}),
        "queries": {split: splits.count(split) for split in SPLITS},
        "sessions": sum(len(pages.items) for pages in shop.pages),
        **_choices(shop),
    }


def _choices(shop: Shop) -> dict[str, Any]:
    """How many items were chosen and passed over, and what share of them is not what it seems."""
    chosen, passed = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for answers, pages in zip(shop.answers, shop.pages, strict=True):
        truth = answers.grades_of(pages.items)
        chosen += np.bincount(truth[pages.chosen], minlength=4)
        passed += np.bincount(truth[pages.shown & ~pages.chosen], minlength=4)
    return {
        "positives": {"count": int(chosen.sum()), "irrelevant_share": _share(chosen[:2], chosen)},
        "negatives": {
            "count": int(passed.sum()),
            "relevant_share": _share(passed[2:], passed),
            "perfect_share": _share(passed[3:], passed),
        },
    }


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> float:
    return round(float(part.sum() / max(whole.sum(), 1)), 4)
