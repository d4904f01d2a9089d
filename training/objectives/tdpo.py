"""TDPO (Zeng et al., 2024, arXiv 2404.11999): DPO with a divergence from the reference at every code.

This is the paper's TDPO₂. The divergence is forward, KL(π_ref ‖ π), over the full codebook of each level,
summed over the levels along a SID.
"""

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, logistic_loss, masked_mean, pairs_won


@dataclass(frozen=True)
class TdpoSettings:
    """Options of TDPO.

    Attributes:
        beta: how strongly the decoder is held to the one it started from.
        alpha: weight of the divergences beside the log-ratios.
    """

    beta: float = 0.1
    alpha: float = 0.5


class Tdpo(Objective[TdpoSettings]):
    """Token-level direct preference optimisation over all pairs of a session."""

    Settings: ClassVar = TdpoSettings
    uses_reference: ClassVar = True

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        margins, pairs = candidates.margins(candidates.log_ratios()), candidates.pairs()
        divergences = sequential_kl(candidates.compared().distributions, candidates.policy.distributions)
        divergences = divergences.expand(candidates.present.shape)
        positives, negatives = candidates.split(divergences)
        loss = tdpo_loss(margins, positives, negatives, pairs, self.settings.beta, self.settings.alpha).mean()
        figures = {
            "preference": loss.detach(),
            "pairs won": pairs_won(margins, pairs),
            "divergence": masked_mean(divergences.detach().flatten(), candidates.present.flatten()),
        }
        return Loss(loss, figures)


def sequential_kl(reference: tuple[Tensor, ...], policy: tuple[Tensor, ...]) -> Tensor:
    """Σ_t KL(π_ref(· | x, y_<t) ‖ π(· | x, y_<t)).

    Args:
        reference: per level, log-probabilities over the codebook, as in ``Scores.distributions``.
        policy: the same of the decoder in training.

    Returns:
        float [B, C]; [B, 1] where there is but one level.
    """
    levels = [
        F.kl_div(after, before, reduction="none", log_target=True).sum(-1)
        for before, after in zip(reference, policy, strict=True)
    ]
    return reduce(torch.add, levels)


def tdpo_loss(
    margins: Tensor, positives: Tensor, negatives: Tensor, pairs: Tensor, beta: float, alpha: float
) -> Tensor:
    """−mean log σ(β · (log π/π_ref (p) − log π/π_ref (n) − α · (KL(n) − sg KL(p)))), sg: no gradient.

    Args:
        margins: differences of log-ratios, float [B, P, N].
        positives: sequential divergences, float [B, P].
        negatives: sequential divergences, float [B, N].
        pairs: bool [B, P, N]; false pairs are left out.
        beta: strength.
        alpha: weight of the divergences.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    excess = negatives[:, None] - positives.detach()[:, :, None]
    return logistic_loss(beta * (margins - alpha * excess), pairs)
