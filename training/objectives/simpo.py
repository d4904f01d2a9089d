"""SimPO (Meng et al., 2024, arXiv 2405.14734): DPO without a reference.

The reward is a SID's mean log-probability, and a positive shall be above a negative by a target margin.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, logistic_loss, pairs_won


@dataclass(frozen=True)
class SimpoSettings:
    """Options of SimPO.

    Attributes:
        beta: scale of the reward.
        gamma: the target margin, in units of the reward.
    """

    beta: float = 2.0
    gamma: float = 1.0


class Simpo(Objective[SimpoSettings]):
    """Simple preference optimisation over all pairs of a session."""

    Settings: ClassVar = SimpoSettings

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        rewards = reward(candidates.policy.log_probs, self.settings.beta)
        margins, pairs = candidates.margins(rewards), candidates.pairs()
        loss = simpo_loss(margins, pairs, self.settings.gamma).mean()
        return Loss(loss, {"preference": loss.detach(), "pairs won": pairs_won(margins, pairs)})


def reward(log_probs: Tensor, beta: float) -> Tensor:
    """r(y) = (β/|y|) Σ_t log π(y_t | x, y_<t): float [..., L] → [...]."""
    return beta * log_probs.mean(-1)


def simpo_loss(margins: Tensor, pairs: Tensor, gamma: float) -> Tensor:
    """−mean log σ(r(p) − r(n) − γ).

    Args:
        margins: differences of rewards, float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.
        gamma: target margin.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return logistic_loss(margins - gamma, pairs)
