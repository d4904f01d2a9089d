"""ORPO (Hong et al., 2024, arXiv 2403.07691): supervised fine-tuning with a contrast of odds.

It needs no reference, nor a decoder that was fine-tuned before.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, logistic_loss, pairs_won
from training.objectives.sft import sft_loss


@dataclass(frozen=True)
class OrpoSettings:
    """Options of ORPO.

    Attributes:
        odds_weight: λ of the contrast of odds beside the negative log-likelihood.
    """

    odds_weight: float = 0.1


class Orpo(Objective[OrpoSettings]):
    """Odds-ratio preference optimisation over all pairs of a session."""

    Settings: ClassVar = OrpoSettings

    def forward(self, candidates: Candidates) -> Loss:
        """L = L_sft + λ · L_or, both per code and averaged over sessions."""
        log_probs = candidates.policy.log_probs
        margins, pairs = candidates.margins(log_odds(log_probs)), candidates.pairs()
        preference = logistic_loss(margins, pairs).mean()
        positives, _ = candidates.split(log_probs)
        present, _ = candidates.split(candidates.present)
        sft = sft_loss(positives, present).mean() / log_probs.shape[-1]
        won = pairs_won(margins, pairs)
        figures = {"preference": preference.detach(), "sft": sft.detach(), "pairs won": won}
        return Loss(sft + self.settings.odds_weight * preference, figures)


def log_odds(log_probs: Tensor) -> Tensor:
    """Log-odds log P / (1 − P) of the length-normalised log P(y|x) = (1/|y|) Σ_t log π(y_t | x, y_<t).

    P is kept below 1, where the odds and their gradient would be infinite.

    Args:
        log_probs: float [..., L].

    Returns:
        float [...].
    """
    log_p = log_probs.mean(-1).clamp(max=-torch.finfo(log_probs.dtype).eps)
    return log_p - torch.log(-torch.expm1(log_p))
