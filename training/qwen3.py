"""A decoder that starts from a Qwen3 checkpoint.

The layers' weights are taken as they are. What Qwen3 has not is new: codebooks, the projection of query
embeddings, the heads of query and item vectors. Token embeddings mean something only under the tokenizer that
they were trained with: they are taken when the data directory's tokenizer has as many tokens as the
checkpoint, and are new otherwise.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sid import RadsearchError
from training.checkpoint import CheckpointError, read_json
from training.model import Decoder, DecoderConfig

PREFIX = "model."  # of the decoder's tensors in a causal language model's file
TOKENS = "embed_tokens.weight"


class Qwen3Error(RadsearchError):
    """A directory that holds no Qwen3 checkpoint this decoder can start from."""


def decoder_from_qwen3(path: Path, config: DecoderConfig) -> tuple[Decoder, bool]:
    """Make a decoder with the shape and the weights of a Qwen3 checkpoint.

    Args:
        path: directory with ``config.json`` and ``*.safetensors``.
        config: what Qwen3 does not know: tokens, codebooks, vectors, prompt; its shape is replaced.

    Returns:
        The decoder, and whether the token embeddings were taken as well.

    Raises:
        Qwen3Error: if the directory holds something else.
    """
    shape, weights = load_qwen3(path)
    decoder = Decoder(replace(config, **shape))
    own = decoder.state_dict()
    missing = [name for name in own if name.startswith(("layers.", "norm.", TOKENS)) and name not in weights]
    if missing:
        raise Qwen3Error(f"{path} lacks the weights {missing[0]}; download the whole Qwen3 model")
    takes_tokens = weights[TOKENS].shape == own[TOKENS].shape
    if not takes_tokens:
        del weights[TOKENS]
    strange = [name for name, tensor in weights.items() if name not in own or own[name].shape != tensor.shape]
    if strange:
        raise Qwen3Error(
            f"{path} has a weight {strange[0]} that its config.json does not tell of; download it again"
        )
    decoder.load_state_dict({**own, **weights})
    return decoder, takes_tokens


def load_qwen3(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a Qwen3 checkpoint.

    Args:
        path: directory with ``config.json`` and ``*.safetensors``, bare or with a language head.

    Returns:
        The fields of :class:`DecoderConfig` that it decides, and float32 weights by the decoder's names.

    Raises:
        Qwen3Error: if the directory holds something else.
    """
    try:
        raw = read_json(path / "config.json")
    except CheckpointError as error:
        raise Qwen3Error(
            f"{path} has no readable config.json; name the directory of a Qwen3 model"
        ) from error
    shape = _shape(path, raw)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise Qwen3Error(f"{path} has no *.safetensors; download the whole Qwen3 model")
    weights: dict[str, Tensor] = {}
    try:
        for file in files:
            weights |= load_file(file)
    except SafetensorError as error:
        raise Qwen3Error(f"{path} has damaged weights ({error}); download it again") from error
    named = {name.removeprefix(PREFIX): tensor.to(torch.float32) for name, tensor in weights.items()}
    named.pop("lm_head.weight", None)  # codes have their own heads
    return shape, named


def _shape(path: Path, raw: dict[str, Any]) -> dict[str, Any]:
    rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if raw.get("model_type") != "qwen3" or raw.get("attention_bias") or raw.get("use_sliding_window"):
        raise Qwen3Error(
            f"{path} is no plain Qwen3 model (model_type {raw.get('model_type')!r}); biases and "
            "sliding windows are not supported"
        )
    if rope.get("rope_type", "default") != "default":
        raise Qwen3Error(
            f"{path} stretches its rotary positions ({rope['rope_type']}), which is not supported"
        )
    try:
        return {
            "d_model": raw["hidden_size"],
            "n_layers": raw["num_hidden_layers"],
            "n_heads": raw["num_attention_heads"],
            "n_kv_heads": raw["num_key_value_heads"],
            "head_dim": raw["head_dim"],
            "d_ff": raw["intermediate_size"],
            "rope_theta": float(rope.get("rope_theta") or raw["rope_theta"]),
            "rms_eps": raw["rms_norm_eps"],
        }
    except KeyError as error:
        raise Qwen3Error(f"{path / 'config.json'} lacks {error}; download the Qwen3 model again") from error
