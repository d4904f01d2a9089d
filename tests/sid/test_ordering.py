"""Items are ordered as plain Python would sort them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid import ItemFeatures, LexicalIndex, OrderingWeights, QueryFeatures, order_items
from sid.ordering import best_first

# Halves add and multiply exactly in float32, so the oracle's scores are the same numbers; few of them, so
# that there are ties.
HALVES = st.integers(-2, 2).map(lambda halves: halves / 2)
WORDS, TRIGRAMS = ("red", "lamp"), ("abc",)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, object]:
    """Postings of some beams over a small catalogue, and everything that items are scored by."""
    n_items = draw(st.integers(1, 12))
    owners = draw(st.lists(st.integers(-1, 4), min_size=n_items, max_size=n_items))  # −1: not found

    def floats(*shape: int) -> np.ndarray:
        values = draw(st.lists(HALVES, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        return np.array(values, dtype=np.float32).reshape(shape)

    terms = [draw(st.sets(st.integers(0, 2))) for _ in range(n_items)]
    columns = np.array([term for of_item in terms for term in sorted(of_item)], dtype=np.int32)
    indptr = np.cumsum([0, *map(len, terms)])
    lexical = LexicalIndex(WORDS, TRIGRAMS, indptr, columns, floats(len(columns)))
    return {
        "postings": [
            np.array([item for item in range(n_items) if owners[item] == beam], dtype=np.int32)
            for beam in range(draw(st.sampled_from([0, 5])))
        ],
        "log_probs": floats(5),
        "query": QueryFeatures(
            floats(2), floats(2), np.array(draw(st.lists(st.integers(0, 2), max_size=3)), dtype=np.int32)
        ),
        "catalogue": ItemFeatures(floats(n_items, 2), floats(n_items, 2), lexical, floats(n_items)),
        "weights": OrderingWeights(*(draw(HALVES) for _ in range(5))),
        "k": draw(st.integers(0, 15)),
        "item_mask": draw(
            st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items).map(np.array)
        ),
    }


def bm25(lexical: LexicalIndex, item: int, asked: list[int]) -> tuple[float, float]:
    """What the words and the trigrams of an item add up to, entry by entry."""
    words = trigrams = 0.0
    for entry in range(lexical.indptr[item], lexical.indptr[item + 1]):
        column = int(lexical.columns[entry])
        gain = asked.count(column) * float(lexical.weights[entry])
        words, trigrams = (words + gain, trigrams) if column < len(WORDS) else (words, trigrams + gain)
    return words, trigrams


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
            words, trigrams = bm25(catalogue.lexical, item, query.terms.tolist())
            score = float(answer["log_probs"][beam])
            score += weights.tau * cosine + weights.prior * float(catalogue.prior[item])
            score += weights.words * words + weights.trigrams * trigrams + weights.embedding * of_embeddings
            expected.append((-score, item, beam))
    expected = sorted(expected)[: answer["k"]]

    ranked = order_items(**answer)

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
