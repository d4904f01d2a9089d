"""Filters that fit any catalogue: its own attributes, with values that an answer showed."""

import json
import random
import urllib.request
from collections.abc import Sequence, Set

from loadtest.answers import Item

CATALOGUE_TIMEOUT_S = 5.0
TWO_CONDITIONS = 0.3
TWO_VALUES = 0.3
BETWEEN = 0.5


def filterable_attributes(url: str, key: str | None) -> frozenset[str] | None:
    """Ask a server which attributes its filters may name, in every variant.

    Returns:
        Their names; None where the server does not say.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/v1/models", headers=headers)  # noqa: S310 - http(s)
    try:
        with urllib.request.urlopen(request, timeout=CATALOGUE_TIMEOUT_S) as answer:  # noqa: S310
            models = json.load(answer)["models"]
        names = [{attribute["name"] for attribute in model["attributes"]} for model in models]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return frozenset(set.intersection(*names)) if names else None


def attribute_filter(items: Sequence[Item], known: Set[str] | None, rng: random.Random) -> dict[str, object]:
    """Make a filter that keeps some item of an answer; empty where there is nothing to filter by.

    Args:
        items: of the answer.
        known: attributes that a filter may name; None for any.
        rng: that chooses.

    Returns:
        One or two conditions: a text, perhaps beside another item's, a truth value, or bounds of a number.
    """
    attributes = rng.choice(items).attributes if items else {}
    usable = [
        name
        for name, value in attributes.items()
        if isinstance(value, str | int | float) and value != "" and (known is None or name in known)
    ]
    n_conditions = min(2 if rng.random() < TWO_CONDITIONS else 1, len(usable))
    return {
        name: _condition(attributes[name], [item.attributes.get(name) for item in items], rng)
        for name in rng.sample(usable, n_conditions)
    }


def _condition(value: object, shown: Sequence[object], rng: random.Random) -> object:
    """A condition that a value meets, given those of all items shown."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        others = sorted({other for other in shown if isinstance(other, str) and other not in ("", value)})
        return [value, rng.choice(others)] if others and rng.random() < TWO_VALUES else [value]
    lower = [other for other in shown if isinstance(other, int | float) and other <= value]  # type: ignore[operator]
    return {"gte": min(lower), "lte": value} if rng.random() < BETWEEN else {"lte": value}
