import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.limits import VISIBLE
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


def test_every_character_that_passes_for_visible_is_read(bundles: Path) -> None:
    """What the API allows, the tokenizer reads: no character alone is accepted and then refused."""
    tokenizer = QueryTokenizer.load(bundles / "sft" / "tokenizer.json")
    # Letters, digits and most signs stand for themselves; what folding can take away is among the others.
    doubtful = (
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(char) not in {"Lo", "Cn", "Co", "Cs", "So", "Nd"}
        or unicodedata.normalize("NFKC", char) != char
    )
    assert [
        f"U+{ord(char):04X}" for char in doubtful if VISIBLE.search(char) and not tokenizer.encode(char)
    ] == []


@pytest.mark.parametrize("text", ["´", "¨", "¯ ¸", "\u02d8", "\uffe3", "\U000e0001"])
def test_an_accent_without_a_letter_is_not_visible(text: str, bundles: Path) -> None:
    assert VISIBLE.search(text) is None
    assert QueryTokenizer.load(bundles / "sft" / "tokenizer.json").encode(text) is None


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match="is not a tokenizer"):
        QueryTokenizer.load(tmp_path / "tokenizer.json")
