from collections import defaultdict
from dataclasses import fields

import numpy as np
import pytest
import torch

from training.batches import Batch, Batches, BatchSettings
from training.dataset import Dataset
from training.ragged import Ragged
from training.tasks import Examples, PreferenceTask, SupervisedTasks

SETTINGS = BatchSettings(batch_size=8, max_positives=2, max_negatives=3, sampled_items=6, seed=3)


class FixedTasks:
    """One example per number: its prompt has that many tokens more than 2, its positive is its own row."""

    def __init__(self, lengths: list[int]) -> None:
        n = len(lengths)
        itself = Ragged.of([[item] for item in range(n)])
        prompts = Ragged.of([[1, *[9] * length, 2] for length in lengths])
        self._examples = Examples(prompts, np.arange(n), itself, Ragged.empty(n), itself)
        self.embeddings = np.arange(n, dtype=np.float32)[:, None]

    def epoch(self, rng: np.random.Generator) -> Examples:
        return self._examples


def same(a: Batch, b: Batch) -> bool:
    def tensors(batch: Batch) -> list[torch.Tensor]:
        parts = [batch.prompts, batch]
        values = [getattr(part, field.name) for part in parts for field in fields(part)]
        return [value for value in values if isinstance(value, torch.Tensor)]

    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


def test_a_batch_depends_on_seed_and_step_alone(session_dataset: Dataset) -> None:
    tasks = SupervisedTasks(session_dataset)
    one = Batches(tasks, session_dataset.n_items, SETTINGS)
    steps = range(2 * len(one) + 1)
    in_order = [one.at(step) for step in steps]
    other = Batches(tasks, session_dataset.n_items, SETTINGS)
    for step in reversed(steps):
        assert same(other.at(step), in_order[step])
    assert not same(in_order[0], in_order[len(one)])
    reseeded = Batches(tasks, session_dataset.n_items, BatchSettings(8, 2, 3, 6, seed=4))
    assert not same(reseeded.at(0), in_order[0])


def test_an_epoch_shows_every_example_once() -> None:
    batches = Batches(FixedTasks([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]), 12, BatchSettings(4, sampled_items=1))
    assert len(batches) == 3
    shown = torch.cat([batches.at(step).candidates[:, 0] for step in range(3)])
    assert sorted(shown.tolist()) == list(range(12))
    embeddings = torch.cat([batches.at(step).prompts.embeddings[:, 0] for step in range(3)])
    assert embeddings.tolist() == shown.tolist(), "every example brings its own embedding"


def test_like_lengths_stand_together() -> None:
    lengths = list(range(1, 29)) * 4
    batches = Batches(FixedTasks(lengths), len(lengths), BatchSettings(16, sampled_items=1))
    real = sum(int(batches.at(step).prompts.mask.sum()) for step in range(len(batches)))
    held = sum(batches.at(step).prompts.mask.numel() for step in range(len(batches)))
    assert real / held > 0.85


@pytest.mark.parametrize("kind", [SupervisedTasks, PreferenceTask])
def test_batches_hold_what_the_sessions_say(kind: type, session_dataset: Dataset) -> None:
    tasks = kind(session_dataset)
    batches = Batches(tasks, session_dataset.n_items, SETTINGS)
    tokenizer = session_dataset.tokenizer
    chosen: dict[str, set[int]] = {title: {row} for row, title in enumerate(session_dataset.titles)}
    passed: dict[str, set[int]] = {}
    named: defaultdict[str, set[int]] = defaultdict(set)  # by the teacher
    pseudo = session_dataset.pseudo_queries()
    for text, items in zip(pseudo.texts, pseudo.items.tolist(), strict=True):
        named[text].update(items)
    texts = [*session_dataset.titles, *pseudo.texts, *session_dataset.query_rows]
    embeddings = [session_dataset.item_embeddings, pseudo.embeddings, session_dataset.query_embeddings]
    embedding_of = dict(zip(texts, np.concatenate(embeddings), strict=True))
    for session in session_dataset.sessions("train"):
        chosen.setdefault(session.query, set()).update(session.positives.tolist())
        passed.setdefault(session.query, set()).update(session.negatives.tolist())
    for step in range(len(batches)):
        batch = batches.at(step)
        P = batch.n_positives
        assert 1 <= P <= 2
        assert batch.present[:, 0].all()
        contrasts = batch.contrasts.tolist()
        assert contrasts == sorted(set(contrasts))
        for row in range(8):
            ids = batch.prompts.tokens[row][batch.prompts.mask[row]]
            assert (ids[0], ids[-1]) == (1, 2)
            assert batch.prompts.mask[row, -1]
            query = tokenizer.decode(ids[1:-1].tolist()).strip()
            np.testing.assert_allclose(batch.prompts.embeddings[row], embedding_of[query], atol=1e-6)
            items, present = batch.candidates[row], batch.present[row]
            positives = items[:P][present[:P]].tolist()
            if query in passed:
                assert set(positives) <= chosen[query] | named[query]
                assert set(items[P:][present[P:]].tolist()) <= passed[query]
            assert batch.contrasts[batch.targets[row][present[:P]]].tolist() == positives
            assert set(positives) <= set(batch.contrasts[batch.relevant[row]].tolist())


def test_relevant_contrasts_are_those_of_the_query(session_dataset: Dataset) -> None:
    sessions = [session for session in session_dataset.sessions("train") if len(session.negatives)]
    chosen: dict[str, set[int]] = {}
    for session in sessions:
        chosen.setdefault(session.query, set()).update(session.positives.tolist())
    batch = Batches(PreferenceTask(session_dataset), session_dataset.n_items, SETTINGS).at(0)
    for row in range(8):
        query = session_dataset.tokenizer.decode(
            batch.prompts.tokens[row][batch.prompts.mask[row]][1:-1].tolist()
        ).strip()
        assert set(batch.contrasts[batch.relevant[row]].tolist()) == chosen[query] & set(
            batch.contrasts.tolist()
        )


def test_processes_share_a_batch_without_overlap(session_dataset: Dataset) -> None:
    batches = Batches(PreferenceTask(session_dataset), session_dataset.n_items, SETTINGS, world_size=2)
    whole = batches.at(1)
    parts = [whole.share(rank, 2) for rank in range(2)]
    assert torch.equal(
        torch.stack([part.prompts.tokens for part in parts], dim=1).flatten(0, 1), whole.prompts.tokens
    )
    embeddings = torch.stack([part.prompts.embeddings for part in parts], dim=1).flatten(0, 1)
    assert torch.equal(embeddings, whole.prompts.embeddings)
    assert torch.equal(torch.stack([part.targets for part in parts], dim=1).flatten(0, 1), whole.targets)
    assert all(torch.equal(part.contrasts, whole.contrasts) for part in parts)
    assert parts[0].candidates.shape == parts[1].candidates.shape


@pytest.mark.parametrize(("examples", "world_size", "expected"), [(3, 1, 3), (5, 2, 4), (1, 2, 2)])
def test_few_examples_make_a_small_batch(examples: int, world_size: int, expected: int) -> None:
    batches = Batches(FixedTasks([1] * examples), examples, BatchSettings(), world_size)
    assert batches.batch_size == expected
    assert len(batches) == 1
    assert len(batches.at(0).prompts) == expected
