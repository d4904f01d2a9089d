import math

import pytest
import torch

from training.contrast import query_vector_loss


def test_the_loss_is_its_formula_and_leaves_out_what_is_relevant() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(2, 4, generator=generator), dim=-1)
    items = torch.nn.functional.normalize(torch.randn(5, 4, generator=generator), dim=-1)
    targets = torch.tensor([[3, 1], [0, 0]])
    present = torch.tensor([[True, True], [True, False]])
    relevant = torch.tensor([[False, True, True, True, False], [True, False, False, False, False]])
    total = 0.0
    for q, positives, others in ((0, [3, 1], [0, 4]), (1, [0], [1, 2, 3, 4])):
        e = [math.exp(float(queries[q] @ item) / 0.1) for item in items]
        denominator = sum(e[i] for i in others)
        total += sum(-math.log(e[p] / (e[p] + denominator)) for p in positives) / len(positives) / 2
    loss = query_vector_loss(queries, items, targets, present, relevant, 0.1)
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_a_query_to_which_all_items_are_relevant_has_nothing_to_learn() -> None:
    vectors = torch.eye(2, requires_grad=True)
    everything = torch.ones(2, 2, dtype=torch.bool)
    loss = query_vector_loss(
        vectors, torch.eye(2), torch.tensor([[0], [1]]), everything[:, :1], everything, 0.1
    )
    loss.backward()
    assert loss.item() == 0.0
    assert vectors.grad is not None
    assert not vectors.grad.any()
