"""Explanations follow a SID through the rankings of its search."""

import numpy as np
import pytest

from sid import Ranking, SidTable, Trie, explain

# Nodes, breadth-first: 1 = (0), 2 = (1), 3 = (2); 4 = (0, 1), 5 = (0, 3), 6 = (1, 2), 7 = (2, 0).
TRIE = Trie.from_table(SidTable.from_item_codes(np.array([[0, 1], [0, 3], [1, 2], [2, 0]]), (3, 4)))


def ranking(*ranked: tuple[int, float]) -> Ranking:
    nodes, log_probs = zip(*ranked, strict=True)
    return Ranking(np.array(nodes, np.int32), np.array(log_probs, np.float32))


RANKINGS = [
    ranking((2, -0.5), (1, -1.0), (3, -3.0), (-1, -1e30)),
    ranking((5, -1.5), (6, -2.0), (4, -2.25), (-1, -1e30)),
]


def test_a_sid_is_followed_from_code_to_code() -> None:
    first, second = explain(TRIE, RANKINGS, 2, np.array([1])).steps[0]
    assert (first.code, first.log_prob, first.rank, first.margin) == (0, -1.0, 2, 2.0)
    assert (second.code, second.log_prob, second.rank, second.margin) == (3, -0.5, 1, 0.75)


def test_what_was_pruned_is_named_with_its_distance() -> None:
    first, second = explain(TRIE, RANKINGS, 2, np.array([1])).pruned
    assert [(one.prefix, one.log_prob, one.behind) for one in first] == [((2,), -3.0, 2.0)]
    assert [(one.prefix, one.log_prob, one.behind) for one in second] == [((0, 1), -2.25, 0.25)]


def test_a_wide_beam_prunes_nothing() -> None:
    explanation = explain(TRIE, RANKINGS, 3, np.array([2]))
    assert explanation.pruned == ((), ())
    assert (explanation.steps[0][0].rank, explanation.steps[0][0].margin) == (1, None)


def test_a_leaf_of_another_search_is_refused() -> None:
    with pytest.raises(ValueError, match="leaf 0 was not found"):
        explain(TRIE, RANKINGS, 2, np.array([0]))


def test_what_went_on_is_told_with_what_might_follow() -> None:
    alive = np.ones(TRIE.n_nodes, dtype=bool)
    alive[[4, 7]] = False  # the filter takes (0, 1) and (2, 0) out
    explanation = explain(TRIE, RANKINGS, 2, np.array([1]), alive)
    root, (first, second) = explanation.root, explanation.kept
    assert (root.prefix, root.log_prob, root.in_trie, root.alive) == ((), 0.0, 3, 3)
    assert [(one.prefix, one.log_prob) for one in first] == [((1,), -0.5), ((0,), -1.0)]
    assert [(one.in_trie, one.alive) for one in first] == [(1, 1), (2, 1)]
    assert [one.prefix for one in second] == [(0, 3), (1, 2)]
    assert {(one.in_trie, one.alive) for one in second} == {(0, 0)}


def test_without_a_filter_all_that_may_follow_is_alive() -> None:
    explanation = explain(TRIE, RANKINGS, 3, np.array([2]))
    assert [(one.prefix, one.in_trie, one.alive) for one in explanation.kept[0]] == [
        ((1,), 1, 1),
        ((0,), 2, 2),
        ((2,), 1, 1),
    ]
