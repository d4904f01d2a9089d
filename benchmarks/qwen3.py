"""The shape of our decoder as transformers' Qwen3, for peers that run it."""

from transformers import Qwen3Config

from training.model import DecoderConfig
from training.tokenizer import PAD


def qwen3_config(config: DecoderConfig, eos_token_id: int | None) -> Qwen3Config:
    """A Qwen3 whose vocabulary is our tokens and then the codes of every level, with one tied head.

    Args:
        config: shape of the decoder.
        eos_token_id: at which sequences end; None for those whose length says so.
    """
    return Qwen3Config(
        vocab_size=config.vocab_size + sum(config.codebook_sizes),
        hidden_size=config.d_model,
        intermediate_size=config.d_ff,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_prompt + config.levels + 1,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        rms_norm_eps=config.rms_eps,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        eos_token_id=eos_token_id,
        bos_token_id=None,
    )
