"""One training step's loss: score the candidates, judge them, and point the query vector at the positives."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.batches import Batch
from training.contrast import query_vector_loss
from training.dataset import Dataset
from training.model import Decoder
from training.objectives import Candidates, Loss, Objective
from training.packing import Packed, score


@dataclass(frozen=True)
class QueryVectorSettings:
    """How the query vector is trained.

    Attributes:
        weight: of its loss beside the objective's.
        temperature: of its softmax over items.
    """

    weight: float
    temperature: float


class TrainingStep(nn.Module):
    """From a batch of item rows to a loss.

    ``state_dict`` holds the decoder, the frozen decoder an objective may compare with, and what the objective
    remembers; the catalogue is not part of it.
    """

    item_codes: Tensor
    item_embeddings: Tensor

    def __init__(
        self, decoder: Decoder, objective: Objective[Any], dataset: Dataset, vectors: QueryVectorSettings
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.objective = objective
        self.vectors = vectors
        codes = dataset.sids.codes[dataset.sids.leaf_of_item()].astype(np.int64)
        self.register_buffer("item_codes", torch.from_numpy(codes), persistent=False)
        embeddings = torch.from_numpy(dataset.item_embeddings)
        self.register_buffer("item_embeddings", embeddings, persistent=False)
        self.reference = copy.deepcopy(decoder).requires_grad_(False) if objective.uses_reference else None

    def forward(self, batch: Batch) -> Loss:
        """The objective's loss plus the query vector's, weighted."""
        codes = self.item_codes[batch.candidates]
        packed = Packed(batch.prompts, codes)
        policy = score(self.decoder, packed, with_ends=self.objective.uses_ends)
        with torch.no_grad():
            reference = score(self.reference, packed) if self.reference else None
        judged: Loss = self.objective(Candidates(codes, batch.present, batch.n_positives, policy, reference))
        vector = query_vector_loss(
            self.decoder.query_vectors(policy.prompts, batch.prompts.embeddings),
            self.decoder.item_vectors(self.item_embeddings[batch.contrasts]),
            batch.targets,
            batch.present[:, : batch.n_positives],
            batch.relevant,
            self.vectors.temperature,
        )
        value = judged.value + self.vectors.weight * vector
        return Loss(value, {"loss": value.detach(), **judged.figures, "query vector": vector.detach()})
