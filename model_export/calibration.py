"""How large the inputs of a decoder's linear layers get, so that int8 can stand for them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.reference import Prompt
from model_export.sequences import hidden_states
from model_export.session import GraphSession, Prompts
from sid import Trie
from training.model import Decoder

LEFT_OUT = ".down_proj"
MOST_SIDS = 64  # of each query's answer


def calibrate(decoder: Decoder, session: GraphSession, prompts: Prompts, trie: Trie) -> dict[str, float]:
    """The largest inputs over queries and the SIDs found for them, see :func:`input_ranges`.

    Args:
        decoder: the model, in evaluation mode.
        session: its graph in float32.
        prompts: queries.
        trie: the SIDs that exist.
    """
    found = session.search(prompts, trie)
    sids = [of_query[leaves >= 0] for of_query, leaves in zip(found.sids, found.leaves, strict=True)]
    return input_ranges(decoder, prompts.unpadded(), [some[:MOST_SIDS] for some in sids])


def input_ranges(
    decoder: Decoder, prompts: Sequence[Prompt], sids: Sequence[NDArray[np.int32]]
) -> dict[str, float]:
    """Run prompts with SIDs and note the largest absolute input of every linear layer that int8 suits.

    Those are the matrices inside the decoder's layers, which take the time, but for ``down_proj``: its inputs
    are products with outliers, and it alone makes up more than half of what int8 changes.

    Args:
        decoder: the model, in evaluation mode.
        prompts: real queries.
        sids: int32 [n, L] per prompt, such as beams find.

    Returns:
        By name of the layer, without ``.weight``.
    """
    ranges: dict[str, float] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            ranges[name] = max(ranges.get(name, 0.0), float(inputs[0].abs().max()))

        return hook

    linears = {
        name: module
        for name, module in decoder.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("layers.") and not name.endswith(LEFT_OUT)
    }
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in linears.items()]
    try:
        with torch.inference_mode():
            for prompt, of_prompt in zip(prompts, sids, strict=True):
                hidden_states(decoder, prompt, torch.from_numpy(of_prompt[:, :-1].astype(np.int64)))
    finally:
        for hook in hooks:
            hook.remove()
    return ranges
