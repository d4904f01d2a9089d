"""Synthetic queries: what shoppers type who do not type what the others do."""

import random
from collections.abc import Callable, Sequence

Change = Callable[[list[str], random.Random], list[str]]


def drop_word(words: list[str], rng: random.Random) -> list[str]:
    """Leave a word out."""
    left_out = rng.randrange(len(words))
    return [word for place, word in enumerate(words) if place != left_out]


def move_word(words: list[str], rng: random.Random) -> list[str]:
    """Put a word at another place."""
    moved = list(words)
    word = moved.pop(rng.randrange(len(moved)))
    moved.insert(rng.randrange(len(moved) + 1), word)
    return moved


def swap_letters(words: list[str], rng: random.Random) -> list[str]:
    """Misspell a word: two neighbouring letters change places."""
    place = rng.randrange(len(words))
    word = words[place]
    at = rng.randrange(max(len(word) - 1, 1))
    misspelt = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    return [*words[:place], misspelt, *words[place + 1 :]]


def reworded(query: str, others: Sequence[str], rng: random.Random) -> str:
    """Make a query out of another: words left out, moved, misspelt, or one of another query added.

    Args:
        query: to begin with.
        others: queries whose words may be added.
        rng: that chooses.

    Returns:
        A query with at least one word.
    """

    def add_word(words: list[str], rng: random.Random) -> list[str]:
        return [*words, rng.choice(rng.choice(others).split())]

    changes: list[Change] = [swap_letters, add_word]
    words = query.split()
    if len(words) > 1:
        changes += [drop_word, move_word]
    return " ".join(rng.choice(changes)(words, rng))
