import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.tokenizer import Query, QueryTokenizer, clean_query
from sid.manifest import BundleError
from training import tokenizer as training_tokenizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXTS)
def test_a_clean_query_is_clean(text: str) -> None:
    cleaned = clean_query(text)
    assert clean_query(cleaned) == cleaned
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert not any(unicodedata.category(char) == "Cc" for char in cleaned)


@given(TEXTS)
def test_cleaning_takes_nothing_that_can_be_seen(text: str) -> None:
    def visible(text: str) -> list[str]:
        return [char for char in text if not char.isspace() and unicodedata.category(char) != "Cc"]

    assert visible(clean_query(text)) == visible(text)


@given(TEXTS)
@example("Crème  BRÛLÉE")
@example("👩‍👩‍👧‍👦 雨伞")
@example("x" * 500)
def test_the_model_reads_what_it_was_trained_on(bundles: Path, text: str) -> None:
    path = bundles / "sft" / "tokenizer.json"
    expected = training_tokenizer.load(path).encode(clean_query(text)).ids
    query = QueryTokenizer.load(path).encode(text)
    assert query == (Query(clean_query(text), tuple(expected)) if len(expected) > 2 else None)


@pytest.mark.parametrize("text", ["", " ", "\x00\n", "\u200b"])
def test_nothing_to_read(text: str, bundles: Path) -> None:
    tokenizer = QueryTokenizer.load(bundles / "sft" / "tokenizer.json")
    assert tokenizer.encode(text) is None


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="is not a tokenizer"):
        QueryTokenizer.load(tmp_path / "tokenizer.json")
