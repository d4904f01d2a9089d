"""Filters that fit any catalogue, because they are made from what an answer showed."""

import random
from collections.abc import Sequence

from loadtest.answers import Item


def attribute_filter(items: Sequence[Item], rng: random.Random) -> dict[str, object]:
    """Make a filter that keeps some item of an answer; empty where there is nothing to filter by.

    A text or truth value is asked for as it is, a number as an upper bound.
    """
    attributes = rng.choice(items).attributes if items else {}
    known = [(name, value) for name, value in attributes.items() if isinstance(value, str | int | float)]
    if not known:
        return {}
    name, value = rng.choice(known)
    if isinstance(value, bool):
        return {name: value}
    return {name: [value] if isinstance(value, str) else {"lte": value}}
