"""DPO (Rafailov et al., 2023): every positive against every negative, relative to the starting decoder."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, masked_mean


@dataclass(frozen=True)
class DpoSettings:
    """Options of DPO.

    Attributes:
        beta: how strongly the decoder is held to the one it started from.
    """

    beta: float = 0.1


class Dpo(Objective[DpoSettings]):
    """Direct preference optimisation over all pairs of a session."""

    Settings: ClassVar = DpoSettings
    uses_reference: ClassVar = True

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        if candidates.reference is None:
            raise ValueError("DPO compares with the decoder it started from; give the reference's scores")
        ratios = (candidates.policy.log_probs - candidates.reference.log_probs).sum(-1)
        positives, negatives = candidates.split(ratios)
        pairs = candidates.pairs()
        margins = positives[:, :, None] - negatives[:, None]
        loss = dpo_loss(margins, pairs, self.settings.beta).mean()
        won = masked_mean((margins.detach() > 0).float().flatten(), pairs.flatten())
        return Loss(loss, {"preference": loss.detach(), "pairs won": won})


def dpo_loss(margins: Tensor, pairs: Tensor, beta: float) -> Tensor:
    """−mean log σ(β · (log π/π_ref (p) − log π/π_ref (n))).

    Args:
        margins: differences of log-ratios, float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.
        beta: strength.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return -masked_mean(F.logsigmoid(beta * margins).flatten(1), torch.flatten(pairs, 1))
