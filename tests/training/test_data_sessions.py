"""Sessions and judgments are read in any format, and what is wrong with a row is said in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.errors import DataError
from training.data.items import Items, load_items
from training.data.judgments import load_judgments
from training.data.rejects import Rejects
from training.data.sessions import item_ids, load_sessions

IDS = st.lists(st.text("abc123", min_size=1, max_size=3), unique=True, min_size=1, max_size=5)


@pytest.fixture
def items(tmp_path: Path) -> Items:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"item_id": f"i{n}", "title": f"Lamp {n}"}) + "\n" for n in range(5)))
    return load_items(path, Rejects())


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@given(IDS)
def test_a_cell_lists_items_by_blanks_bars_or_json(ids: list[str]) -> None:
    assert item_ids(" ".join(ids)) == ids
    assert item_ids(json.dumps(ids)) == ids
    assert item_ids(ids * 2) == ids
    if len(ids) > 1:
        assert item_ids("|".join(ids)) == ids


def test_ids_with_blanks_need_bars_or_json() -> None:
    assert item_ids("red lamp|mug") == ["red lamp", "mug"]
    assert item_ids('["red lamp"]') == ["red lamp"]
    assert item_ids(None) == item_ids("") == item_ids("[]") == []
    assert item_ids([1, "2"]) == ["1", "2"]


@pytest.mark.parametrize("cell", ["[1,", "a||b", 3, {"a": 1}, [None], [["a"]], [True]])
def test_what_is_no_list_of_items_is_refused(cell: object) -> None:
    assert item_ids(cell) is None


def test_sessions_are_read(tmp_path: Path, items: Items) -> None:
    path = tmp_path / "sessions.csv"
    path.write_text(
        "query,positives,negatives,user_id,timestamp\n"
        '  red   lamp ,i1 i2,i0,u1,2025-01-01T00:00:01+00:00\nlamp,"[""i3""]",,,1735689602\n'
    )
    sessions = load_sessions(path, items, Rejects())
    assert sessions.queries == ["red lamp", "lamp"]
    assert sessions.positives == [[1, 2], [3]]
    assert sessions.negatives == [[0], []]
    assert sessions.user_ids == ["u1", None]
    assert sessions.timestamps == [1735689601, 1735689602]


GOOD = {"query": "lamp", "positives": ["i1"], "negatives": ["i2"], "split": "train"}
BAD_SESSIONS = {
    "unknown positive": ({"positives": ["B07X"]}, "positive 'B07X' is not in items.jsonl (5 items)."),
    "unknown negative": ({"negatives": ["B07X"]}, "negative 'B07X' is not in items.jsonl (5 items)."),
    "no positives": ({"positives": []}, "the session of query 'lamp' has no positives."),
    "null positives": ({"positives": None}, "the session of query 'lamp' has no positives."),
    "both": ({"negatives": ["i1"]}, "item 'i1' is in positives and in negatives."),
    "positives no list": ({"positives": 7}, "positives 7 is not a list of item_ids."),
    "empty query": ({"query": " "}, "the query is empty."),
    "no query": ({"query": None}, "the query is empty."),
    "query no text": ({"query": 5}, "query 5 is not a text."),
    "user": ({"user_id": [1]}, "user_id [1] is neither text nor an integer."),
    "timestamp": ({"timestamp": "soon"}, "timestamp 'soon' is neither seconds since 1970 nor ISO 8601."),
    "timestamp type": ({"timestamp": True}, "timestamp True is neither seconds since 1970 nor ISO 8601."),
    "split": ({"split": "dev"}, "split 'dev' is none of train, valid, test."),
    "two splits": (
        {"query": "LAMP", "split": "test"},
        "query 'LAMP' is in split test here and in train before.",
    ),
}


@pytest.mark.parametrize(("change", "sentence"), BAD_SESSIONS.values(), ids=BAD_SESSIONS)
def test_a_bad_session_is_named_or_skipped(
    tmp_path: Path, items: Items, change: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path / "sessions.jsonl", [GOOD, {**GOOD, **change}, GOOD])
    with pytest.raises(DataError) as error:
        load_sessions(path, items, Rejects())
    assert str(error.value) == f"sessions.jsonl:2: {sentence} Fix the row or pass --on-error skip."

    rejects = Rejects("skip")
    assert len(load_sessions(path, items, rejects).queries) == 2
    assert rejects.shown == [f"sessions.jsonl:2: {sentence}"]


def test_skipped_rows_are_counted_by_reason_and_the_first_few_are_kept(tmp_path: Path, items: Items) -> None:
    bad = [{**GOOD, "positives": []}] * 9 + [{**GOOD, "positives": ["x"]}]
    rejects = Rejects("skip")
    load_sessions(write(tmp_path / "sessions.jsonl", [GOOD, *bad]), items, rejects)
    assert rejects.counts == {"sessions.jsonl: no positives": 9, "sessions.jsonl: unknown positive": 1}
    assert len(rejects.shown) == 6
    assert rejects.shown[-1].startswith("sessions.jsonl:11:")


JUDGED = {"query": "lamp", "item_id": "i1", "grade": 3}
BAD_JUDGMENTS = {
    "unknown item": ({"item_id": "B07X"}, "item 'B07X' is not in items.jsonl (5 items)."),
    "letter": ({"item_id": "i2", "grade": "X"}, "grade 'X' is neither a number nor one of E, S, C, I."),
    "no grade": ({"item_id": "i2", "grade": None}, "grade None is neither a number nor one of E, S, C, I."),
    "truth value": (
        {"item_id": "i2", "grade": True},
        "grade True is neither a number nor one of E, S, C, I.",
    ),
    "not finite": (
        {"item_id": "i2", "grade": "nan"},
        "grade 'nan' is neither a number nor one of E, S, C, I.",
    ),
    "twice": ({}, "query 'lamp' judges item 'i1' a second time."),
    "empty query": ({"query": ""}, "the query is empty."),
    "split": ({"item_id": "i2", "split": "dev"}, "split 'dev' is none of train, valid, test."),
}


@pytest.mark.parametrize(("change", "sentence"), BAD_JUDGMENTS.values(), ids=BAD_JUDGMENTS)
def test_a_bad_judgment_is_named_or_skipped(
    tmp_path: Path, items: Items, change: dict[str, Any], sentence: str
) -> None:
    path = write(tmp_path / "judgments.jsonl", [JUDGED, {**JUDGED, **change}])
    with pytest.raises(DataError) as error:
        load_judgments(path, items, Rejects())
    assert str(error.value) == f"judgments.jsonl:2: {sentence} Fix the row or pass --on-error skip."
    assert load_judgments(path, items, Rejects("skip")).grades == {"lamp": {1: 3.0}}


def test_no_valid_judgment_is_an_error(tmp_path: Path, items: Items) -> None:
    path = write(tmp_path / "judgments.jsonl", [{**JUDGED, "item_id": "x"}])
    with pytest.raises(DataError, match="has no valid judgments"):
        load_judgments(path, items, Rejects("skip"))


def test_esci_letters_and_written_grades_are_read(tmp_path: Path, items: Items) -> None:
    path = tmp_path / "judgments.csv"
    path.write_text("query,item_id,grade\nlamp,i0,E\nlamp,i1,s\nlamp,i2,C\nlamp,i3,I\nlamp,i4,2.67\n")
    assert load_judgments(path, items, Rejects()).grades == {
        "lamp": {0: 3.0, 1: 2.0, 2: 1.0, 3: 0.0, 4: 2.67}
    }


@given(
    grades=st.dictionaries(st.integers(0, 4), st.integers(0, 6).map(lambda half: half / 2), min_size=1),
    negative_to=st.sampled_from([0.0, 1.0, 1.5]),
    positive_from=st.sampled_from([2.0, 2.5, 3.0]),
)
def test_thresholds_part_judgments_into_positives_and_negatives(
    tmp_path_factory: pytest.TempPathFactory,
    grades: dict[int, float],
    negative_to: float,
    positive_from: float,
) -> None:
    folder = tmp_path_factory.mktemp("judgments")
    write(folder / "items.jsonl", [{"item_id": f"i{n}", "title": "Lamp"} for n in range(5)])
    rows = [{"query": "lamp", "item_id": f"i{item}", "grade": grade} for item, grade in grades.items()]
    items = load_items(folder / "items.jsonl", Rejects())
    judgments = load_judgments(write(folder / "judgments.jsonl", rows), items, Rejects())

    sessions = judgments.sessions(positive_from, negative_to)

    positives = [item for item, grade in grades.items() if grade >= positive_from]
    negatives = [item for item, grade in grades.items() if grade <= negative_to]
    assert sessions.queries == (["lamp"] if positives else [])
    assert sessions.positives == ([positives] if positives else [])
    assert sessions.negatives == ([negatives] if positives else [])
