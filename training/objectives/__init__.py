"""The objectives a decoder can be trained with, by the name they have on the command line."""

from typing import Any

from training.objectives.base import Candidates, Loss, Objective
from training.objectives.beta_dpo import BetaDpo
from training.objectives.cal_dpo import CalDpo
from training.objectives.dpo import Dpo
from training.objectives.orpo import Orpo
from training.objectives.rad_dpo import RadDpo
from training.objectives.s_dpo import SDpo
from training.objectives.sft import Sft
from training.objectives.simpo import Simpo
from training.objectives.tdpo import Tdpo

OBJECTIVES: dict[str, type[Objective[Any]]] = {
    "sft": Sft,
    "dpo": Dpo,
    "simpo": Simpo,
    "orpo": Orpo,
    "s-dpo": SDpo,
    "cal-dpo": CalDpo,
    "beta-dpo": BetaDpo,
    "tdpo": Tdpo,
    "rad-dpo": RadDpo,
}

__all__ = ["OBJECTIVES", "Candidates", "Loss", "Objective"]
