import itertools
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import LoadtestError
from loadtest.queries import SHIPPED_QUERIES, load_queries, query_stream, zipf_stream
from loadtest.wording import reworded

QUERIES = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1).filter(
        lambda text: text.strip()
    ),
    min_size=1,
)


@given(QUERIES, st.sampled_from([".txt", ".jsonl"]))
def test_queries_come_back_by_frequency_and_then_by_first_place(
    tmp_path_factory: pytest.TempPathFactory, asked: list[str], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("queries") / f"queries{suffix}"
    lines = asked if suffix == ".txt" else [json.dumps({"query": query, "positives": []}) for query in asked]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    counts = Counter(asked)
    assert load_queries(path) == sorted(counts, key=lambda query: (-counts[query], asked.index(query)))


@pytest.mark.parametrize("query", ["🎁 gift", "跑步鞋", "crème brûlée"])
def test_any_script_is_a_query(tmp_path: Path, query: str) -> None:
    path = tmp_path / "queries.txt"
    path.write_text(query, encoding="utf-8")
    assert load_queries(path) == [query]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"\n \n", "has no queries"),
        ("latin.txt", "caf\xe9".encode("latin-1"), "is not UTF-8"),
        ("broken.jsonl", b'{"query": "a"}\n{', "broken.jsonl:2:"),
        ("other.jsonl", b'{"text": "a"}', 'other.jsonl:1: no "query"'),
        ("blank.jsonl", b'{"query": " "}', 'blank.jsonl:1: no "query"'),
        ("list.jsonl", b'["query"]', 'list.jsonl:1: no "query"'),
    ],
)
def test_a_bad_file_is_named_with_its_row(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadtestError) as caught:
        load_queries(tmp_path / name)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError, match=r"nowhere\.txt \(No such file"):
        load_queries(tmp_path / "nowhere.txt")


def test_the_shipped_queries_are_a_shop_s() -> None:
    queries = load_queries(SHIPPED_QUERIES)
    assert len(queries) >= 100
    assert max(len(query) for query in queries) <= 60


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_frequencies_fall_as_a_power_of_the_rank(exponent: float) -> None:
    n_draws, ranks = 20_000, np.arange(1, 6)
    queries = [f"query {rank}" for rank in ranks]
    drawn = Counter(itertools.islice(zipf_stream(queries, exponent, random.Random(0)), n_draws))
    expected = ranks**-exponent / (ranks**-exponent).sum()
    shares = np.array([drawn[query] for query in queries]) / n_draws
    np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / n_draws**0.5)


def test_equal_seeds_give_equal_streams() -> None:
    streams = [zipf_stream(["a", "b", "c"], 1.0, random.Random(7)) for _ in range(2)]
    first, second = (list(itertools.islice(stream, 100)) for stream in streams)
    assert first == second


@given(QUERIES, st.randoms(use_true_random=False))
def test_a_reworded_query_has_words_of_those_that_are_known(queries: list[str], rng: random.Random) -> None:
    made = reworded(queries[0], queries, rng)
    assert made.split()
    letters = Counter(letter for query in queries for letter in query if not letter.isspace())
    assert set(made) - {" "} <= set(letters)


def test_every_way_to_reword_is_used() -> None:
    rng = random.Random(0)
    made = {reworded("red shoes", ["hat"], rng) for _ in range(300)}
    assert {"red", "shoes", "shoes red", "red shoes hat", "erd shoes", "red shose"} <= made


@pytest.mark.parametrize("synthetic", [0.0, 0.3, 1.0])
def test_a_share_of_the_stream_is_reworded_and_the_rest_keeps_zipf_s_law(synthetic: float) -> None:
    n_draws = 10_000
    queries = [f"first{rank} second{rank} third{rank} fourth{rank}" for rank in range(1, 6)]
    drawn = Counter(itertools.islice(query_stream(queries, 1.0, synthetic, random.Random(0)), n_draws))
    kept = np.array([drawn[query] for query in queries])
    # A word that moves may come back to its place, so a few of the reworded are as they were.
    assert 1 - kept.sum() / n_draws == pytest.approx(synthetic * 0.92, abs=0.03)
    if kept.sum() > 1000:
        law = 1 / np.arange(1, 6)
        np.testing.assert_allclose(kept / kept.sum(), law / law.sum(), atol=4 * 0.5 / kept.sum() ** 0.5)
