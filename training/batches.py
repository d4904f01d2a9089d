"""Examples become batches: bucketed by length, seeded, and the same at a given step whenever it is asked for.

A batch is a function of (seed, step) alone. That makes an interrupted run resumable without saving any
random state, and lets every process of a distributed run draw the global batch and keep its own share.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.model import Prompts
from training.ragged import Ragged
from training.tasks import Examples, Tasks

POOL = 64  # batches that are sorted by length together


@dataclass(frozen=True)
class BatchSettings:
    """How examples are batched.

    Attributes:
        batch_size: examples per step, over all processes.
        max_positives, max_negatives: most candidates of an example; more are drawn anew each epoch.
        sampled_items: items drawn uniformly from the catalogue as further contrasts for the query vector.
        seed: of everything that is drawn.
    """

    batch_size: int = 256
    max_positives: int = 4
    max_negatives: int = 3
    sampled_items: int = 4096
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """One step's examples.

    Attributes:
        prompts: B of them.
        candidates: int64 [B, C], item rows, positives first.
        present: bool [B, C].
        contrasts: int64 [M], item rows that all query vectors are compared with.
        targets: int64 [B, P], where in ``contrasts`` each positive is.
        relevant: bool [B, M], which contrasts are known to be relevant.
    """

    prompts: Prompts
    candidates: Tensor
    present: Tensor
    contrasts: Tensor
    targets: Tensor
    relevant: Tensor

    @property
    def n_positives(self) -> int:
        """P, the candidates that are positives."""
        return self.targets.shape[1]

    def share(self, rank: int, world_size: int) -> "Batch":
        """Keep the examples of one process; the contrasts stay those of the global batch."""
        mine = slice(rank, None, world_size)
        return Batch(
            self.prompts[mine],
            self.candidates[mine],
            self.present[mine],
            self.contrasts,
            self.targets[mine],
            self.relevant[mine],
        )

    def to(self, device: torch.device) -> "Batch":
        """Copy to a device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in fields(self)}
        return Batch(**moved)


@dataclass(frozen=True)
class Epoch:
    """One pass over the tasks.

    Attributes:
        number: from 0.
        examples: what is learnt.
        order: int64 [batches, B], rows of ``examples``.
    """

    number: int
    examples: Examples
    order: NDArray[np.int64]


class Batches:
    """The sequence of batches of a run."""

    def __init__(self, tasks: Tasks, n_items: int, settings: BatchSettings, world_size: int = 1) -> None:
        self._tasks = tasks
        self._n_items = n_items
        self._settings = settings
        self._world_size = world_size
        self._column = np.full(n_items, -1, dtype=np.int64)  # scratch: item row → its place in contrasts
        self._epoch = self._draw(0)

    @property
    def batch_size(self) -> int:
        """Examples per step over all processes; less than asked for where there are too few."""
        return int(self._epoch.order.shape[1])

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._epoch.order)

    def at(self, step: int) -> Batch:
        """Make the batch of a step, counted from 0 over all epochs."""
        epoch, index = divmod(step, len(self))
        if epoch != self._epoch.number:
            self._epoch = self._draw(epoch)
        rng = np.random.default_rng((self._settings.seed, epoch, index))
        return self._collate(self._epoch.order[index], rng)

    def _draw(self, number: int) -> Epoch:
        rng = np.random.default_rng((self._settings.seed, number))
        examples = self._tasks.epoch(rng)
        return Epoch(number, examples, self._order(examples, rng))

    def _order(self, examples: Examples, rng: np.random.Generator) -> NDArray[np.int64]:
        """Shuffle, and put like lengths together, so that little of a batch is padding.

        Only whole batches, each of a size that the processes can share evenly; what is left over is other
        examples in every epoch.
        """
        per_process = max(min(self._settings.batch_size, len(examples)) // self._world_size, 1)
        size = per_process * self._world_size
        n_batches = max(len(examples) // size, 1)
        order = np.resize(rng.permutation(len(examples)), n_batches * size)
        lengths = examples.prompts.lengths
        for start in range(0, len(order), POOL * size):
            pool = order[start : start + POOL * size]
            order[start : start + POOL * size] = pool[np.argsort(lengths[pool], kind="stable")]
        return rng.permutation(order.reshape(n_batches, size))

    def _collate(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
        settings, examples = self._settings, self._epoch.examples
        tokens, prompt_mask = examples.prompts.take(rows).padded(left=True)
        positives, present = examples.positives.take(rows).sample(settings.max_positives, rng).padded()
        negatives, negative_present = (
            examples.negatives.take(rows).sample(settings.max_negatives, rng).padded()
        )
        sampled = rng.integers(self._n_items, size=min(settings.sampled_items, self._n_items))
        contrasts = np.unique(np.concatenate([positives[present], sampled]))
        self._column[contrasts] = np.arange(len(contrasts))
        targets = np.where(present, self._column[positives], 0)
        relevant = self._relevant(examples.relevant.take(rows), len(contrasts))
        self._column[contrasts] = -1
        return Batch(
            Prompts(
                torch.from_numpy(tokens),
                torch.from_numpy(prompt_mask),
                torch.from_numpy(self._tasks.embeddings[examples.embeddings[rows]]),
            ),
            torch.from_numpy(np.concatenate([positives, negatives], axis=1)),
            torch.from_numpy(np.concatenate([present, negative_present], axis=1)),
            torch.from_numpy(contrasts),
            torch.from_numpy(targets),
            torch.from_numpy(relevant),
        )

    def _relevant(self, relevant: Ragged, n_contrasts: int) -> NDArray[np.bool_]:
        columns = self._column[relevant.values]
        mask = np.zeros((len(relevant), n_contrasts), dtype=bool)
        mask[relevant.row_of_value[columns >= 0], columns[columns >= 0]] = True
        return mask
