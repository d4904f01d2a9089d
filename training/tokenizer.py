"""The query tokenizer: byte-level BPE, trained on a shop's own words and kept in one ``tokenizer.json``.

Everything that shapes the tokens (folding, prompt template, truncation, padding) is in that file, so the
service gets the same ids from the ``tokenizers`` library alone.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, NFD, NFKC, Lowercase, Normalizer, Replace, Sequence, Strip
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer

from training.data.errors import DataError

PAD, BOS, SEP, EOS = 0, 1, 2, 3
SPECIALS = ("[PAD]", "[BOS]", "[SEP]", "[EOS]")

BLANK = r"[\p{Cc}\p{Z}]+"
# Format characters show nothing. Those inside words (U+200C), emoji (U+200D) and flags (tags) carry meaning.
INVISIBLE = r"[\p{Cf}&&[^\x{200C}\x{200D}\x{E0020}-\x{E007F}]]+"
# Accents of Latin, Greek and Cyrillic letters. The library's StripAccents removes every non-spacing mark,
# which are vowels in Hindi and Thai and a part of the letter in Japanese.
ACCENTS = r"[\x{0300}-\x{036F}]+"


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 4096, fold: bool = True, max_prompt: int = 32
) -> Tokenizer:
    """Learn a tokenizer whose encoding of a query is the decoder's prompt.

    ``tokenizer.encode(query).ids`` is ``[BOS] query [SEP]``, at most ``max_prompt`` ids with ``[SEP]`` last;
    a batch is padded on the left with ``PAD``. Text that spells a special token, such as "[SEP]", stays
    text. Text without a visible character gives ``[BOS] [SEP]``.

    Args:
        texts: what to learn the merges from: titles and training queries.
        vocab_size: most tokens to have, the 4 specials and the 256 bytes included.
        fold: whether case and accents are taken away, as in "Crème" to "creme".
        max_prompt: longest prompt in tokens, specials included.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = _normalizer(fold)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=True)
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _without_added_tokens(tokenizer)
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[BOS] $A [SEP]", special_tokens=[("[BOS]", BOS), ("[SEP]", SEP)]
    )
    tokenizer.enable_padding(direction="left", pad_id=PAD, pad_token=SPECIALS[PAD])
    tokenizer.enable_truncation(max_length=max_prompt)
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read a ``tokenizer.json`` written by ``train_tokenizer(...).save(path)``.

    Raises:
        DataError: if the file is missing, is no tokenizer, or has other special tokens.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} not found; write it with 'radsearch prepare'.") from error
    except Exception as error:  # the library raises bare Exceptions for whatever is wrong in the file
        raise DataError(
            f"{path} is not a tokenizer ({error}); write it again with 'radsearch prepare'."
        ) from error
    ids = tuple(tokenizer.token_to_id(token) for token in SPECIALS)
    if ids != (PAD, BOS, SEP, EOS):
        raise DataError(
            f"{path} has the ids {ids} for {', '.join(SPECIALS)}, the decoder needs {(PAD, BOS, SEP, EOS)}; "
            "write it again with 'radsearch prepare'."
        )
    return tokenizer


def _normalizer(fold: bool) -> Normalizer:
    folding = [Lowercase(), NFD(), Replace(Regex(ACCENTS), ""), NFC()] if fold else []
    blanks = [Replace(Regex(INVISIBLE), ""), Replace(Regex(BLANK), " "), Strip()]
    return Sequence([NFKC(), *folding, *blanks])


def _without_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Keep the specials' ids but stop the tokenizer from finding their names in the text.

    Training registers them as strings to look for, with which a query could end its own prompt.
    """
    raw = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps({**raw, "added_tokens": []}))
