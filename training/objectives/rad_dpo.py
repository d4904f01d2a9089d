"""RAD-DPO (arXiv 2602.23964): preference optimisation for SIDs, whose prefixes are shared.

A session x has positives p and negatives n, SIDs of |y| codes. The implicit reward is reference-free and
length-normalised as in SimPO: r(y) = (β/|y|) Σ_t log π(y_t | x, y_<t). Three modules act on it:

TLGD, token-level gradient detachment: a negative is not pushed down where it shares the positive's codes.
RDRW, representation-based reward weighting: a negative that looks like the positive counts less.
MLGC, multi-label global contrast: each positive stands against all negatives of its session at once.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import (
    Candidates,
    Loss,
    Objective,
    gathered,
    logistic_loss,
    masked_logsumexp,
    masked_mean,
    pairs_won,
)
from training.objectives.sft import sft_loss
from training.objectives.simpo import reward

WINDOW = 4096  # similarities that RDRW remembers
LEAST_WEIGHT = 0.5  # of a negative above the upper quantile


@dataclass(frozen=True)
class RadDpoSettings:
    """Options of RAD-DPO.

    Attributes:
        beta: scale of the reward.
        sft_weight: λ of the global SFT term.
        tlgd, rdrw, mlgc: the three modules; off for ablation.
        listwise: MLGC's formula. "published": z = log Σ_j exp(w_j (r(p) − r(n_j))), which the easiest
            negative dominates. "calibrated": z = −log((1/n) Σ_j w_j exp(r(n_j) − r(p))), which the hardest
            one dominates and which is 0 where all rewards are equal.
        lower_quantile, upper_quantile: of the remembered similarities; RDRW's weight falls between them.
    """

    beta: float = 2.0
    sft_weight: float = 1.0
    tlgd: bool = True
    rdrw: bool = True
    mlgc: bool = True
    listwise: Literal["published", "calibrated"] = "published"
    lower_quantile: float = 0.25
    upper_quantile: float = 0.75


class RadDpo(Objective[RadDpoSettings]):
    """RAD-DPO with its window of similarities."""

    Settings: ClassVar = RadDpoSettings
    uses_ends: ClassVar = True

    similarities: Tensor
    seen: Tensor

    def __init__(self, settings: RadDpoSettings) -> None:
        super().__init__(settings)
        self.register_buffer("similarities", torch.zeros(WINDOW))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, candidates: Candidates) -> Loss:
        """L = L_pref + λ · L_sft, each averaged over sessions."""
        positives, negatives = candidates.split(candidates.policy.log_probs)
        present, _ = candidates.split(candidates.present)
        shared, pairs = candidates.shared_prefixes(), candidates.pairs()
        beta = self.settings.beta
        negatives = negatives[:, None].expand(shared.shape)
        if self.settings.tlgd:
            negatives = detach_shared_prefix(negatives, shared)
        margins = reward(positives, beta)[:, :, None] - reward(negatives, beta)
        weights = self._weights(candidates, pairs) if self.settings.rdrw else torch.ones_like(margins)

        preference = self._preference(margins, weights, pairs)
        sft = sft_loss(positives, present).mean()
        won = pairs_won(margins, pairs)
        figures = {"preference": preference.detach(), "sft": sft.detach(), "pairs won": won}
        return Loss(preference + self.settings.sft_weight * sft, figures)

    def _preference(self, margins: Tensor, weights: Tensor, pairs: Tensor) -> Tensor:
        if not self.settings.mlgc:
            return logistic_loss(weights * margins, pairs).mean()
        listwise = published if self.settings.listwise == "published" else calibrated
        return multi_label_contrast(listwise(margins, weights, pairs), pairs.any(-1)).mean()

    def _weights(self, candidates: Candidates, pairs: Tensor) -> Tensor:
        ends = candidates.policy.ends
        if ends is None:
            raise ValueError("RDRW compares hidden states at [EOS]; score the candidates with_ends=True")
        positive_ends, negative_ends = candidates.split(F.normalize(ends.float(), dim=-1))
        similarity = positive_ends @ negative_ends.transpose(1, 2)
        self._remember(similarity, pairs)
        if self.seen < WINDOW:
            return torch.ones_like(similarity)
        quantiles = similarity.new_tensor([self.settings.lower_quantile, self.settings.upper_quantile])
        lower, upper = torch.quantile(self.similarities, quantiles)
        return similarity_weights(similarity, lower, upper)

    def _remember(self, similarity: Tensor, pairs: Tensor) -> None:
        """Put the pairs' similarities, those of all processes, in place of the oldest."""
        newest = gathered(similarity)[gathered(pairs)][-WINDOW:]
        places = (self.seen + torch.arange(len(newest), device=newest.device)) % WINDOW
        self.similarities[places] = newest
        self.seen += len(newest)


def detach_shared_prefix(log_probs: Tensor, shared: Tensor) -> Tensor:
    """TLGD: the value stays; the gradient flows only after the negative leaves the positive.

    Args:
        log_probs: per-code log-probabilities of the negative, float [..., L].
        shared: as in ``Candidates.shared_prefixes``, bool [..., L].
    """
    return torch.where(shared, log_probs.detach(), log_probs)


def similarity_weights(similarity: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """RDRW: 1 up to the lower quantile, 0.5 from the upper one, linear between; shape of ``similarity``."""
    share = (similarity - lower) / (upper - lower).clamp(min=torch.finfo(similarity.dtype).tiny)
    return 1.0 - (1.0 - LEAST_WEIGHT) * share.clamp(0.0, 1.0)


def published(margins: Tensor, weights: Tensor, pairs: Tensor) -> Tensor:
    """MLGC as published: z_p = log Σ_j exp(w_j · (r(p) − r(n_j))).

    Args:
        margins: r(p) − r(n), float [B, P, N].
        weights: float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.

    Returns:
        float [B, P]; finite, and of no meaning where a positive has no pair.
    """
    return masked_logsumexp(weights * margins, pairs)


def calibrated(margins: Tensor, weights: Tensor, pairs: Tensor) -> Tensor:
    """MLGC read as a calibrated contrast: z_p = −log((1/n) Σ_j w_j · exp(r(n_j) − r(p))).

    Arguments and result as in :func:`published`; n is the number of the positive's pairs.
    """
    count = pairs.sum(-1).clamp(min=1).to(margins.dtype)
    return count.log() - masked_logsumexp(weights.log() - margins, pairs)


def multi_label_contrast(z: Tensor, present: Tensor) -> Tensor:
    """L_pref = −(1/|P|) Σ_p log σ(z_p), over the positives that have a pair.

    Args:
        z: float [B, P].
        present: bool [B, P].

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return -masked_mean(F.logsigmoid(z), present)
