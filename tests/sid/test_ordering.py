"""Items are ordered as plain Python would sort them."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid import ItemFeatures, LexicalIndex, OrderingWeights, Postings, QueryFeatures, order_items
from sid.ordering import best_first

# Halves add and multiply exactly in float32, so the oracle's scores are the same numbers; few of them, so
# that there are ties.
HALVES = st.integers(-2, 2).map(lambda halves: halves / 2)
N_TERMS, N_WORDS = 3, 2


@dataclass(frozen=True)
class Gains:
    """Stands where a lexical index stands, whose weights would not add up exactly.

    Attributes:
        gains: float32 [n_items, N_TERMS], what each term gives each item; the first ones are words.
    """

    gains: np.ndarray

    def scores(self, query: np.ndarray, items: np.ndarray) -> np.ndarray:
        asked = self.gains[items] * np.bincount(query, minlength=N_TERMS)
        return np.stack([asked[:, :N_WORDS].sum(axis=1), asked[:, N_WORDS:].sum(axis=1)], axis=1)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, object]:
    """Postings of some beams over a small catalogue, and everything that items are scored by."""
    n_items = draw(st.integers(1, 12))
    owners = draw(st.lists(st.integers(-1, 4), min_size=n_items, max_size=n_items))  # −1: not found

    def floats(*shape: int) -> np.ndarray:
        values = draw(st.lists(HALVES, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        return np.array(values, dtype=np.float32).reshape(shape)

    return {
        "postings": [
            np.array([item for item in range(n_items) if owners[item] == beam], dtype=np.int32)
            for beam in range(draw(st.sampled_from([0, 5])))
        ],
        "log_probs": floats(5),
        "query": QueryFeatures(
            floats(2), floats(2), np.array(draw(st.lists(st.integers(0, 2), max_size=3)), dtype=np.int32)
        ),
        "catalogue": ItemFeatures(
            floats(n_items, 2),
            floats(n_items, 2),
            Gains(floats(n_items, N_TERMS)),  # type: ignore[arg-type]
            floats(n_items),
        ),
        "weights": OrderingWeights(*(draw(HALVES) for _ in range(5))),
        "k": draw(st.integers(0, 15)),
        "item_mask": draw(
            st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items).map(np.array)
        ),
        "max_per_sid": draw(st.none() | st.integers(1, 4)),
    }


def bm25(gains: np.ndarray, asked: list[int]) -> tuple[float, float]:
    """What the words and the trigrams of an item add up to."""
    words = sum(float(gains[term]) for term in asked if term < N_WORDS)
    return words, sum(float(gains[term]) for term in asked if term >= N_WORDS)


@given(answers())
def test_order_equals_a_plain_sort(answer: dict) -> None:
    weights, mask, catalogue, query = (
        answer[name] for name in ("weights", "item_mask", "catalogue", "query")
    )
    expected = []
    for beam, posting in enumerate(answer["postings"]):
        for item in posting.tolist():
            if mask is not None and not mask[item]:
                continue
            cosine, of_embeddings = (
                sum(float(a) * float(b) for a, b in zip(ours, theirs, strict=True))
                for ours, theirs in (
                    (catalogue.vectors[item], query.vector),
                    (catalogue.embeddings[item], query.embedding),
                )
            )
            words, trigrams = bm25(catalogue.lexical.gains[item], query.terms.tolist())
            score = float(answer["log_probs"][beam])
            score += weights.tau * cosine + weights.prior * float(catalogue.prior[item])
            score += weights.words * words + weights.trigrams * trigrams + weights.embedding * of_embeddings
            expected.append((-score, item, beam))
    most, taken = answer["max_per_sid"], Counter[int]()
    ordered, expected = sorted(expected), []
    for negated, item, beam in ordered:
        taken[beam] += 1
        if most is None or taken[beam] <= most:
            expected.append((negated, item, beam))
    expected = expected[: answer["k"]]

    ranked = order_items(**{**answer, "postings": Postings.of_beams(answer["postings"])})

    assert ranked.items.tolist() == [item for _, item, _ in expected]
    assert ranked.beams.tolist() == [beam for _, _, beam in expected]
    assert ranked.scores.tolist() == [-negated for negated, _, _ in expected]
    assert (ranked.items.dtype, ranked.beams.dtype, ranked.scores.dtype) == ("i4", "i4", "f4")


@given(st.permutations(range(20)), st.lists(HALVES, min_size=20, max_size=20), st.integers(0, 25))
def test_the_best_come_first_and_equal_ones_by_item(items: list[int], scores: list[float], k: int) -> None:
    best = best_first(np.array(items, dtype=np.int32), np.array(scores, dtype=np.float32), k)
    assert best.tolist() == sorted(range(20), key=lambda place: (-scores[place], items[place]))[:k]


def test_weights_are_plain_json() -> None:
    weights = OrderingWeights(tau=0.5, prior=0.25, words=2.0, trigrams=0.125, embedding=4.0)
    assert OrderingWeights(**weights.to_dict()) == weights


@pytest.mark.parametrize("left_out", ["tau", "embedding", "words", "trigrams", "prior", None])
def test_parts_without_weight_change_no_score(left_out: str | None) -> None:
    rng = np.random.default_rng(0)
    texts = ["red shoe", "blue shoe", "wool hat", "red hat", "tent"]
    features = ItemFeatures(
        vectors=rng.standard_normal((5, 3), np.float32),
        embeddings=rng.standard_normal((5, 4), np.float32),
        lexical=LexicalIndex.from_texts(texts),
        prior=rng.random(5, np.float32),
    )
    query = QueryFeatures(
        rng.standard_normal(3, np.float32),
        rng.standard_normal(4, np.float32),
        features.lexical.query("red shoe"),
    )
    weights = OrderingWeights(tau=2.0, prior=0.5, words=1.5, trigrams=0.25, embedding=3.0)
    if left_out:
        weights = replace(weights, **{left_out: 0.0})
    items, log_probs = np.array([4, 0, 2], np.int32), np.array([-1.0, -2.0, -0.5], np.float32)
    expected = features.parts(items, log_probs, query) @ weights.of_parts()
    found = features.parts(items, log_probs, query, weights) @ weights.of_parts()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
