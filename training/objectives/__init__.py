"""The objectives a decoder can be trained with, by the name they have on the command line."""

from typing import Any

from training.objectives.base import Candidates, Loss, Objective
from training.objectives.dpo import Dpo
from training.objectives.rad_dpo import RadDpo
from training.objectives.sft import Sft

OBJECTIVES: dict[str, type[Objective[Any]]] = {"sft": Sft, "dpo": Dpo, "rad-dpo": RadDpo}

__all__ = ["OBJECTIVES", "Candidates", "Loss", "Objective"]
