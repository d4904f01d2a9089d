"""Pseudo-queries: words cut out of titles.

A shop has far fewer queries than items, so a decoder meets most items only in their titles. A pseudo-query
reads like a query, and its teacher (:mod:`training.sids.teacher`) names more items for it than the one whose
title it was cut from.
"""

from collections.abc import Sequence

import numpy as np

WORDS = 4  # most words of a pseudo-query


def cut_pseudo_queries(titles: Sequence[str], per_title: int, rng: np.random.Generator) -> list[str]:
    """Cut some pseudo-queries out of every title; all titles once, then all once more."""
    words = [title.split() for title in titles]
    return [pseudo_query(of_title, rng) for _ in range(per_title) for of_title in words]


def pseudo_query(words: list[str], rng: np.random.Generator) -> str:
    """Cut a query out of a title: some of its words, in their order."""
    n_kept = rng.integers(1, max(1, min(len(words), WORDS)) + 1)
    kept = np.sort(rng.permutation(len(words))[:n_kept])
    return " ".join(words[index] for index in kept)
