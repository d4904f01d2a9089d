"""From the text a shopper typed to the tokens of a prompt."""

import unicodedata
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from sid.manifest import BundleError

SPECIALS = 2  # [BOS] and [SEP] stand around every query


def clean_query(text: str) -> str:
    """Turn control characters into blanks and collapse whitespace."""
    if text.isprintable():  # as nearly always: it has none
        return " ".join(text.split())
    visible = (" " if unicodedata.category(char) == "Cc" else char for char in text)
    return " ".join("".join(visible).split())


class Query(NamedTuple):
    """A query as a decoder reads it.

    Attributes:
        text: from :func:`clean_query`; the embedder reads it.
        tokens: of the prompt ``[BOS] query [SEP]``.
    """

    text: str
    tokens: tuple[int, ...]


class QueryTokenizer:
    """The tokenizer of a bundle; folding, template and truncation are in its file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()  # a batch is padded where it is put together

    @classmethod
    def load(cls, path: Path) -> "QueryTokenizer":
        """Read ``tokenizer.json``.

        Raises:
            BundleError: if it is no tokenizer.
        """
        try:
            return cls(Tokenizer.from_file(str(path)))
        except Exception as error:  # the library raises bare Exceptions for whatever is wrong in the file
            raise BundleError(f"{path} is not a tokenizer ({error}); export the bundle again") from error

    @property
    def longest(self) -> int:
        """Tokens of a prompt at most.

        Raises:
            BundleError: if there is no limit.
        """
        truncation = self._tokenizer.truncation
        if truncation is None:
            raise BundleError("the tokenizer does not limit how long prompts are; export the bundle again")
        return int(truncation["max_length"])

    def encode(self, text: str) -> Query | None:
        """Read what a shopper typed; None where there is nothing to read."""
        cleaned = clean_query(text)
        ids = self._tokenizer.encode(cleaned).ids
        return Query(cleaned, tuple(ids)) if len(ids) > SPECIALS else None
