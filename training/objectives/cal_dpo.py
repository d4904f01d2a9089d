"""Cal-DPO (Xiao et al., 2024, arXiv 2412.14516): DPO whose log-ratios are drawn to values of their own.

DPO looks at differences alone, so that a positive may lose likelihood as long as its negatives lose more.
Here the log-ratio of a positive is also drawn to 1/(2β) and that of a negative to −1/(2β).
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from training.objectives.base import Candidates, Loss, Objective, logistic_loss, masked_mean, pairs_won


@dataclass(frozen=True)
class CalDpoSettings:
    """Options of Cal-DPO.

    Attributes:
        beta: the log-ratios' targets are ±1/(2β); the contrast itself has no β.
        calibration_weight: of the squared distances to the targets; 1 in the paper, 0.5 in its authors' code.
    """

    beta: float = 0.1
    calibration_weight: float = 1.0


class CalDpo(Objective[CalDpoSettings]):
    """Calibrated direct preference optimisation over all pairs of a session."""

    Settings: ClassVar = CalDpoSettings
    uses_reference: ClassVar = True

    def forward(self, candidates: Candidates) -> Loss:
        """L = L_contrast + weight · L_calibration, each averaged over sessions."""
        ratios, pairs = candidates.log_ratios(), candidates.pairs()
        margins = candidates.margins(ratios)
        preference = logistic_loss(margins, pairs).mean()
        calibration = calibration_loss(*candidates.split(ratios), pairs, self.settings.beta).mean()
        figures = {
            "preference": preference.detach(),
            "calibration": calibration.detach(),
            "pairs won": pairs_won(margins, pairs),
        }
        return Loss(preference + self.settings.calibration_weight * calibration, figures)


def calibration_loss(positives: Tensor, negatives: Tensor, pairs: Tensor, beta: float) -> Tensor:
    """Mean of (log π/π_ref (p) − 1/(2β))² + (log π/π_ref (n) + 1/(2β))².

    Args:
        positives: log-ratios, float [B, P].
        negatives: log-ratios, float [B, N].
        pairs: bool [B, P, N]; false pairs are left out.
        beta: of the targets.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    target = 1 / (2 * beta)
    distances = (positives[:, :, None] - target) ** 2 + (negatives[:, None] + target) ** 2
    return masked_mean(distances.flatten(1), pairs.flatten(1))
