"""S-DPO (Chen et al., 2024, arXiv 2406.09215): DPO with a softmax over all negatives of a session."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import (
    Candidates,
    Loss,
    Objective,
    masked_logsumexp,
    masked_mean,
    pairs_won,
)


@dataclass(frozen=True)
class SDpoSettings:
    """Options of S-DPO.

    Attributes:
        beta: how strongly the decoder is held to the one it started from.
    """

    beta: float = 1.0


class SDpo(Objective[SDpoSettings]):
    """Softmax direct preference optimisation: each positive against all negatives of its session."""

    Settings: ClassVar = SDpoSettings
    uses_reference: ClassVar = True

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        margins, pairs = candidates.margins(candidates.log_ratios()), candidates.pairs()
        loss = s_dpo_loss(margins, pairs, self.settings.beta).mean()
        return Loss(loss, {"preference": loss.detach(), "pairs won": pairs_won(margins, pairs)})


def s_dpo_loss(margins: Tensor, pairs: Tensor, beta: float) -> Tensor:
    """−mean over positives of log σ(−log Σ_n exp(β · (log π/π_ref (n) − log π/π_ref (p)))).

    Args:
        margins: differences of log-ratios, float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.
        beta: strength.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return -masked_mean(F.logsigmoid(-masked_logsumexp(-beta * margins, pairs)), pairs.any(-1))
