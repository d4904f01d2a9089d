"""β-DPO (Wu et al., 2024, arXiv 2407.08639): DPO whose β follows the margins of the batch.

Pairs far from the usual margin are likely to be left out, and a batch whose margins are wider than usual is
held closer to the starting decoder. Where the paper leaves a choice, this follows its authors' code: margins
are differences of log-ratios without β, and the usual margin is updated before it is used.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, gathered, own_part, pairs_won
from training.objectives.dpo import dpo_loss

LEAST_BETA = 1e-3  # below it a batch would be turned around


@dataclass(frozen=True)
class BetaDpoSettings:
    """Options of β-DPO.

    Attributes:
        beta: β₀, that of a batch whose margins are as usual.
        alpha: how strongly β follows the margins.
        kept: ρ, share of a batch's pairs that are learnt from.
        momentum: of the moving mean and deviation of the margins.
    """

    beta: float = 0.1
    alpha: float = 0.6
    kept: float = 0.8
    momentum: float = 0.9


class BetaDpo(Objective[BetaDpoSettings]):
    """Direct preference optimisation with a dynamic β over all pairs of a session that are kept."""

    Settings: ClassVar = BetaDpoSettings
    uses_reference: ClassVar = True

    mean: Tensor
    deviation: Tensor
    batches: Tensor

    def __init__(self, settings: BetaDpoSettings) -> None:
        super().__init__(settings)
        # 0 is the margin that the starting decoder has to itself.
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("deviation", torch.zeros((), dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, candidates: Candidates) -> Loss:
        """Average the sessions' losses."""
        margins, pairs = candidates.margins(candidates.log_ratios()), candidates.pairs()
        kept, beta = self._adapt(margins.detach(), pairs)
        loss = dpo_loss(margins, kept, beta).mean()
        won = pairs_won(margins, pairs)
        return Loss(loss, {"preference": loss.detach(), "pairs won": won, "beta": beta})

    def _adapt(self, margins: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the pairs to keep, bool [B, P, N], and β, a scalar, by the margins of all processes."""
        pairs = gathered(pairs)
        batch = gathered(margins)[pairs]
        settings = self.settings
        if not len(batch):
            return own_part(pairs), margins.new_tensor(settings.beta)
        self.mean.lerp_(batch.mean().double(), 1 - settings.momentum)
        self.deviation.lerp_(batch.std(correction=0).double(), 1 - settings.momentum)
        log_weights = usualness(batch, self.mean, self.deviation)
        chosen = draw(log_weights, max(int(settings.kept * len(batch)), 1), seed=int(self.batches))
        self.batches += 1
        beta = dynamic_beta(batch[chosen], self.mean, settings.beta, settings.alpha)
        return own_part(pairs.masked_scatter(pairs, chosen)), beta.to(margins.dtype)


def usualness(margins: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """−½ ((M − M₀) / σ)², the log-weight with which a pair is drawn: float [n] → [n]."""
    return -0.5 * ((margins - mean) / deviation.clamp(min=torch.finfo(margins.dtype).tiny)) ** 2


def draw(log_weights: Tensor, n: int, seed: int) -> Tensor:
    """Draw without replacement, in proportion to weights (Gumbel top-n), the same in every process.

    Args:
        log_weights: float [m].
        n: how many to draw.
        seed: of the draw.

    Returns:
        bool [m], true on those drawn.
    """
    uniform = torch.rand(len(log_weights), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(min=torch.finfo(uniform.dtype).tiny)))
    keys = log_weights + gumbel.to(log_weights)
    return torch.zeros_like(keys, dtype=torch.bool).index_fill(0, keys.topk(n).indices, True)


def dynamic_beta(margins: Tensor, mean: Tensor, beta: float, alpha: float) -> Tensor:
    """β = (1 + α · (mean of M − M₀)) · β₀ of the margins that were drawn, a scalar kept positive."""
    return (beta * (1 + alpha * (margins.mean() - mean))).clamp(min=LEAST_BETA)
