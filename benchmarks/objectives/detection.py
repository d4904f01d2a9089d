"""RDRW against the truth: do its low weights stand where a negative is relevant?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from training.batches import Batches
from training.objectives import Candidates
from training.objectives.rad_dpo import WINDOW, RadDpo
from training.step import TrainingStep
from training.tasks import TaskError

LOW_WEIGHT = 0.75  # below it a negative counts as found; weights go from 0.5 to 1
MOST_PAIRS = 20_000  # to watch


@dataclass(frozen=True)
class Weighed:
    """Pairs of a positive and a negative that RDRW weighed.

    Attributes:
        weights: float32 [n], from 0.5 to 1.
        pseudo: bool [n], whether the negative is relevant in truth.
    """

    weights: NDArray[np.float32]
    pseudo: NDArray[np.bool_]


class WatchedRadDpo(RadDpo):
    """RAD-DPO that keeps what it weighed last, once its window of similarities is full.

    Attributes:
        given: weights and which of them are pairs, each [B, P, N]; None before.
    """

    given: tuple[Tensor, Tensor] | None = None

    def _weights(self, candidates: Candidates, pairs: Tensor) -> Tensor:
        weights = super()._weights(candidates, pairs)
        self.given = (weights, pairs) if self.seen >= WINDOW else None
        return weights


@torch.inference_mode()
def watch(step: TrainingStep, objective: WatchedRadDpo, items: Batches, truth: Batches) -> Weighed:
    """Show sessions to a decoder that does not learn: fill the window, then keep an epoch's weights.

    Args:
        step: with ``objective`` in it, in evaluation mode.
        objective: what weighs.
        items: sessions.
        truth: the same with 1 in place of each negative that is relevant in truth, and 0 of the others.

    Raises:
        TaskError: if no session has a negative of another SID than its positive.
    """
    device = step.item_codes.device
    weights: list[NDArray[np.float32]] = []
    pseudo: list[NDArray[np.bool_]] = []
    number = n_pairs = 0
    while len(weights) < len(items) and n_pairs < MOST_PAIRS:
        batch, flags = items.at(number), truth.at(number)
        step(batch.to(device))
        number += 1
        if objective.given is not None:
            given, pairs = (tensor.cpu() for tensor in objective.given)
            relevant = flags.candidates[:, None, flags.n_positives :].bool().expand_as(pairs)
            weights.append(given[pairs].numpy())
            pseudo.append(relevant[pairs].numpy())
            n_pairs += len(weights[-1])
        elif number == len(items) and not objective.seen:
            raise TaskError("no session has a negative with another SID than its positive; use finer SIDs")
    return Weighed(np.concatenate(weights), np.concatenate(pseudo))


def detection(weighed: Weighed) -> dict[str, Any]:
    """How well a low weight tells that a negative is relevant.

    Returns:
        ``pairs``; ``share`` of pseudo-negatives among them, the precision of pointing blindly; ``flagged``,
        the share with a low weight; ``precision``, ``recall`` and ``auc`` of low weights, None where
        undefined.
    """
    low, pseudo = weighed.weights < LOW_WEIGHT, weighed.pseudo
    found = int((low & pseudo).sum())
    return {
        "pairs": len(pseudo),
        "share": float(pseudo.mean()),
        "flagged": float(low.mean()),
        "precision": found / int(low.sum()) if low.any() else None,
        "recall": found / int(pseudo.sum()) if pseudo.any() else None,
        "auc": float(roc_auc_score(pseudo, -weighed.weights)) if 0 < pseudo.sum() < len(pseudo) else None,
    }
