"""The tokenizer turns any query into a prompt of the decoder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from training.data.errors import DataError
from training.tokenizer import BOS, EOS, PAD, SEP, load, train_tokenizer

TEXTS = ["Red running shoes size 42", "crème brûlée torch", "跑步鞋 红色", "stainless steel pan 12 in."] * 3
MAX_PROMPT = 16


def trained(fold: bool = True) -> Tokenizer:
    return train_tokenizer(TEXTS, vocab_size=320, fold=fold, max_prompt=MAX_PROMPT)


FOLDING = trained()
KEEPING = trained(fold=False)


def body(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer.encode(text).ids[1:-1]).strip()


@given(st.text())
def test_a_prompt_is_bos_text_sep_and_fits(text: str) -> None:
    for tokenizer in (FOLDING, KEEPING):
        ids = tokenizer.encode(text).ids
        assert ids[0] == BOS
        assert ids[-1] == SEP
        assert len(ids) <= MAX_PROMPT
        assert not set(ids[1:-1]) & {PAD, BOS, SEP, EOS}


@pytest.mark.parametrize("text", ["跑步鞋", "👟 red", "👨‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "हिन्दी", "गद्दा", "がぎ"])
def test_any_script_round_trips(text: str) -> None:
    wide = train_tokenizer(TEXTS, vocab_size=320, max_prompt=128)
    assert body(wide, text) == text


@pytest.mark.parametrize("text", ["", " ", "\x00\x07\x1b\x7f", "\t\r\n", "\u200b\ufeff\u202e"])
def test_text_without_a_visible_character_is_an_empty_prompt(text: str) -> None:
    assert FOLDING.encode(text).ids == [BOS, SEP]


def test_a_long_query_is_cut_and_still_ends_in_sep() -> None:
    for text in ("x" * 10_000, "red shoes " * 1_000):
        ids = FOLDING.encode(text).ids
        assert len(ids) == MAX_PROMPT
        assert ids[-1] == SEP


def test_folding_takes_case_accents_and_width_away() -> None:
    assert FOLDING.encode("CRÈME  Ｂrulee").ids == FOLDING.encode("creme brulee").ids
    assert KEEPING.encode("CRÈME").ids != KEEPING.encode("creme").ids
    assert body(KEEPING, "Crème") == "Crème"


@pytest.mark.parametrize("name", ["[SEP]", "[PAD]", "[BOS]", "[EOS]"])
def test_the_name_of_a_special_token_is_only_text(name: str) -> None:
    assert body(KEEPING, f"{name} red") == f"{name} red"


def test_a_batch_is_padded_on_the_left() -> None:
    short, long = FOLDING.encode_batch(["red", "red running shoes"])
    assert len(short.ids) == len(long.ids)
    padding = short.attention_mask.count(0)
    assert padding > 0
    assert short.ids[:padding] == [PAD] * padding
    assert short.attention_mask == [0] * padding + [1] * (len(short.ids) - padding)
    assert short.ids[padding:] == FOLDING.encode("red").ids


@pytest.mark.parametrize("fold", [True, False])
def test_the_file_keeps_everything(tmp_path: Path, fold: bool) -> None:
    tokenizer = trained(fold)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load(tmp_path / "tokenizer.json")
    for texts in (["Crème", "RED running shoes"], ["x" * 10_000, ""]):
        assert [e.ids for e in loaded.encode_batch(texts)] == [e.ids for e in tokenizer.encode_batch(texts)]


def test_training_is_deterministic() -> None:
    assert trained().to_str() == trained().to_str()


def test_loading_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(DataError, match="not found"):
        load(path)
    path.write_text("{}")
    with pytest.raises(DataError, match="is not a tokenizer"):
        load(path)
    raw = json.loads(FOLDING.to_str())
    vocab = raw["model"]["vocab"]
    vocab["[PAD]"], vocab["[EOS]"] = vocab["[EOS]"], vocab["[PAD]"]
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=r"has the ids \(3, 1, 2, 0\)"):
        load(path)
