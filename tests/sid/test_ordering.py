"""Items are ordered as plain Python would sort them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid import OrderingWeights, order_items

# Halves add and multiply exactly in float32, so the oracle's scores are the same numbers; few of them, so
# that there are ties.
HALVES = st.integers(-2, 2).map(lambda halves: halves / 2)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, object]:
    """Postings of some beams over a small catalogue, and everything that items are scored by."""
    n_items = draw(st.integers(1, 12))
    owners = draw(st.lists(st.integers(-1, 4), min_size=n_items, max_size=n_items))  # −1: not found
    return {
        "postings": [
            np.array([item for item in range(n_items) if owners[item] == beam], dtype=np.int32)
            for beam in range(draw(st.sampled_from([0, 5])))
        ],
        "log_probs": np.array(draw(st.lists(HALVES, min_size=5, max_size=5)), dtype=np.float32),
        "query_vector": np.array(draw(st.lists(HALVES, min_size=2, max_size=2)), dtype=np.float32),
        "item_vectors": np.array(
            draw(st.lists(st.tuples(HALVES, HALVES), min_size=n_items, max_size=n_items)), dtype=np.float32
        ),
        "item_prior": np.array(draw(st.lists(HALVES, min_size=n_items, max_size=n_items)), dtype=np.float32),
        "weights": OrderingWeights(tau=draw(HALVES), prior=draw(HALVES)),
        "k": draw(st.integers(0, 15)),
        "item_mask": draw(
            st.none() | st.lists(st.booleans(), min_size=n_items, max_size=n_items).map(np.array)
        ),
    }


@given(answers())
def test_order_equals_a_plain_sort(answer: dict) -> None:
    weights, mask = answer["weights"], answer["item_mask"]
    expected = []
    for beam, posting in enumerate(answer["postings"]):
        for item in posting.tolist():
            if mask is not None and not mask[item]:
                continue
            cosine = sum(
                float(a) * float(b)
                for a, b in zip(answer["item_vectors"][item], answer["query_vector"], strict=True)
            )
            score = float(answer["log_probs"][beam])
            score += weights.tau * cosine + weights.prior * float(answer["item_prior"][item])
            expected.append((-score, item, beam))
    expected = sorted(expected)[: answer["k"]]

    ranked = order_items(**answer)

    assert ranked.items.tolist() == [item for _, item, _ in expected]
    assert ranked.beams.tolist() == [beam for _, _, beam in expected]
    assert ranked.scores.tolist() == [-negated for negated, _, _ in expected]
    assert (ranked.items.dtype, ranked.beams.dtype, ranked.scores.dtype) == ("i4", "i4", "f4")


def test_weights_are_plain_json() -> None:
    weights = OrderingWeights(tau=0.5, prior=0.25)
    assert OrderingWeights(**weights.to_dict()) == weights
