"""The query vector's loss: a query shall point to the items chosen for it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.objectives.base import masked_mean


def query_vector_loss(
    query_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    present: Tensor,
    relevant: Tensor,
    temperature: float,
) -> Tensor:
    """InfoNCE over the batch's items (van den Oord et al., 2018), without false negatives.

    For each query q and each of its positives p: −log(e_p / (e_p + Σ_i e_i)), where e_i is
    exp(cos(q, i) / temperature) and i runs over the items that are not known to be relevant to q.

    Args:
        query_vectors: unit rows, float32 [B, d].
        item_vectors: unit rows, float32 [M, d].
        targets: int64 [B, P], the column (0..M−1) of each positive.
        present: bool [B, P], false on positives that only fill up a row.
        relevant: bool [B, M], true where the item is known to be relevant, positives included.
        temperature: of the softmax; smaller looks at the nearest items only.

    Returns:
        float32 scalar, the mean over queries of the mean over their positives.
    """
    scores = query_vectors @ item_vectors.T / temperature
    others = torch.logsumexp(scores.masked_fill(relevant, -1e30), dim=1, keepdim=True)
    return masked_mean(F.softplus(others - scores.gather(1, targets)), present).mean()
