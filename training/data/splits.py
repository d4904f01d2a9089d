"""Which queries a model may learn from: each query text is in one of train, valid and test."""

import hashlib
import unicodedata
from typing import Literal, get_args

from training.data.rejects import BadRow

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def clean_query(text: str) -> str:
    """A query as it is stored: single blanks, none around it."""
    return " ".join(text.split())


def query_key(query: str) -> str:
    """What makes two queries one for the splits: their text without case, extra blanks, Unicode variants."""
    return clean_query(unicodedata.normalize("NFKC", query).casefold())


def hash_split(query: str) -> Split:
    """Split a query by its text alone: 80 % train, 10 % valid, 10 % test."""
    bucket = int.from_bytes(hashlib.blake2b(query_key(query).encode(), digest_size=8).digest(), "big") % 10
    return "test" if bucket == 9 else "valid" if bucket == 8 else "train"


class QuerySplits:
    """The splits that a file's ``split`` column gives to its queries."""

    def __init__(self) -> None:
        self._given: dict[str, Split] = {}

    def note(self, query: str, split: object) -> None:
        """Remember the split of a row's query; None is no split.

        Raises:
            BadRow: if it is no split, or another row gave the query another one.
        """
        if split is None:
            return
        if split not in SPLITS:
            raise BadRow("unknown split", f"split {split!r:.60} is none of {', '.join(SPLITS)}")
        given = self._given.setdefault(query_key(query), split)
        if given != split:
            raise BadRow(
                "query in two splits", f"query '{query}' is in split {split} here and in {given} before"
            )

    def of(self, query: str) -> Split | None:
        """The split given to a query, None where no row gives one."""
        return self._given.get(query_key(query))


def split_of(query: str, *given: QuerySplits) -> Split:
    """The first split given to a query, else the one of its hash."""
    for splits in given:
        split = splits.of(query)
        if split:
            return split
    return hash_split(query)
