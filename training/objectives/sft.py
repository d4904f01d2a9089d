"""Supervised fine-tuning: raise the likelihood of every positive."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, masked_mean


@dataclass(frozen=True)
class SftSettings:
    """Supervised fine-tuning has no options."""


class Sft(Objective[SftSettings]):
    """Negative log-likelihood of the positives, over all codes of their SIDs."""

    Settings: ClassVar = SftSettings
    uses_negatives: ClassVar = False
    epochs: ClassVar = 12.0
    learning_rate: ClassVar = 3e-3

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        log_probs, _ = candidates.split(candidates.policy.log_probs)
        present, _ = candidates.split(candidates.present)
        loss = sft_loss(log_probs, present).mean()
        return Loss(loss, {"sft": loss.detach()})


def sft_loss(log_probs: Tensor, present: Tensor) -> Tensor:
    """L_sft = −(1/|P|) Σ_p Σ_t log π(p_t | x, p_<t).

    Args:
        log_probs: of the positives, float [B, P, L].
        present: bool [B, P].

    Returns:
        float [B]; 0 for a session without positives.
    """
    return -masked_mean(log_probs.sum(-1), present)
