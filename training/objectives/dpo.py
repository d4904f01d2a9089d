"""DPO (Rafailov et al., 2023, arXiv 2305.18290): every positive against every negative.

Both are taken relative to the decoder that training started from.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, logistic_loss, pairs_won


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
        margins, pairs = candidates.margins(candidates.log_ratios()), candidates.pairs()
        loss = dpo_loss(margins, pairs, self.settings.beta).mean()
        return Loss(loss, {"preference": loss.detach(), "pairs won": pairs_won(margins, pairs)})


def dpo_loss(margins: Tensor, pairs: Tensor, beta: float | Tensor) -> Tensor:
    """−mean log σ(β · (log π/π_ref (p) − log π/π_ref (n))).

    Args:
        margins: differences of log-ratios, float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.
        beta: strength.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return logistic_loss(beta * margins, pairs)
