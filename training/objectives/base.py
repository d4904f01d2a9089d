"""What every objective sees and what it gives back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from training.packing import Scores

S = TypeVar("S")  # an objective's settings


@dataclass(frozen=True)
class Candidates:
    """Sessions with the scores of their candidates, positives first.

    Attributes:
        codes: int64 [B, C, L], SIDs; the first P of the C are positives, the other N negatives.
        present: bool [B, C], false on candidates that only fill up a row.
        n_positives: P.
        policy: scores under the decoder in training.
        reference: scores under the frozen decoder that training started from, without gradient; None unless
            the objective asks for them.
    """

    codes: Tensor
    present: Tensor
    n_positives: int
    policy: Scores
    reference: Scores | None = None

    def split(self, per_candidate: Tensor) -> tuple[Tensor, Tensor]:
        """Part [B, C, …] into that of the positives [B, P, …] and of the negatives [B, N, …]."""
        return per_candidate[:, : self.n_positives], per_candidate[:, self.n_positives :]

    def margins(self, per_candidate: Tensor) -> Tensor:
        """How far each positive is above each negative: [B, C] → [B, P, N]."""
        positives, negatives = self.split(per_candidate)
        return positives[:, :, None] - negatives[:, None]

    def compared(self) -> Scores:
        """The reference's scores.

        Raises:
            ValueError: if there are none.
        """
        if self.reference is None:
            raise ValueError(
                "the objective compares with the decoder it started from; give the reference's scores"
            )
        return self.reference

    def log_ratios(self) -> Tensor:
        """Over all its codes, log π(y|x) / π_ref(y|x) of every candidate: float [B, C]."""
        return (self.policy.log_probs - self.compared().log_probs).sum(-1)

    def shared_prefixes(self) -> Tensor:
        """Mark the codes that each negative shares with each positive from the front, bool [B, P, N, L]."""
        positives, negatives = self.split(self.codes)
        return common_prefix(positives[:, :, None], negatives[:, None])

    def pairs(self) -> Tensor:
        """Mark the pairs that carry a preference: both are there and their SIDs differ. bool [B, P, N]."""
        positives, negatives = self.split(self.present)
        return positives[:, :, None] & negatives[:, None] & ~self.shared_prefixes()[..., -1]


@dataclass(frozen=True)
class Loss:
    """A loss, averaged over sessions, and what is worth watching beside it (detached scalars by name)."""

    value: Tensor
    figures: dict[str, Tensor]


class Objective(nn.Module, ABC, Generic[S]):
    """A loss over the candidates' per-code log-probabilities.

    The formulas are pure functions beside the class. The class binds them to their settings and to what they
    remember from step to step, which lies in buffers, so that ``state_dict`` has it when training resumes.

    Attributes:
        Settings: a frozen dataclass of the objective's options, all with defaults.
        uses_negatives: whether it learns from sessions with negatives, rather than from titles and positives.
        uses_ends: whether it needs ``Scores.ends``.
        uses_reference: whether it needs ``Candidates.reference``.
        epochs, learning_rate: what training takes unless told otherwise.
    """

    Settings: ClassVar[type[Any]]
    uses_negatives: ClassVar[bool] = True
    uses_ends: ClassVar[bool] = False
    uses_reference: ClassVar[bool] = False
    epochs: ClassVar[float] = 3.0
    learning_rate: ClassVar[float] = 1e-4

    def __init__(self, settings: S) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def forward(self, candidates: Candidates) -> Loss:
        """Judge one batch."""


def common_prefix(a: Tensor, b: Tensor) -> Tensor:
    """Mark the codes that two SIDs share from the front.

    Args:
        a: SID codes, int64 [..., L].
        b: the same, of a shape that broadcasts with a's.

    Returns:
        bool [..., L]; true up to, and not including, the first level where they differ.
    """
    return (a == b).cumprod(dim=-1).bool()


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average over the last axis where the mask is true; 0 where it is nowhere: [..., n] → [...]."""
    total = torch.where(mask, values, 0.0).sum(-1)
    return total / mask.sum(-1).clamp(min=1)


def masked_logsumexp(exponents: Tensor, mask: Tensor) -> Tensor:
    """Log-sum-exp over the last axis where the mask is true: [..., n] → [...].

    Finite, and of no meaning, where it is nowhere, so that such a row has no NaN in its gradient.
    """
    return torch.logsumexp(torch.where(mask, exponents, -1e30), dim=-1)


def logistic_loss(margins: Tensor, pairs: Tensor) -> Tensor:
    """−mean log σ(margin) over a session's pairs, each by itself (Bradley-Terry).

    Args:
        margins: of positives over negatives, float [B, P, N].
        pairs: bool [B, P, N]; false pairs are left out.

    Returns:
        float [B]; 0 for a session without a pair.
    """
    return -masked_mean(F.logsigmoid(margins).flatten(1), pairs.flatten(1))


def pairs_won(margins: Tensor, pairs: Tensor) -> Tensor:
    """Share of a batch's pairs whose positive is above the negative, a scalar; arguments as above."""
    return masked_mean((margins.detach() > 0).float().flatten(), pairs.flatten())


def gathered(tensor: Tensor) -> Tensor:
    """Put the processes' tensors, equal in shape, after one another: [B, …] → [processes · B, …]."""
    if not dist.is_initialized():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def own_part(of_all: Tensor) -> Tensor:
    """This process's part of what :func:`gathered` gave: [processes · B, …] → [B, …]."""
    if not dist.is_initialized():
        return of_all
    return of_all.chunk(dist.get_world_size())[dist.get_rank()]
