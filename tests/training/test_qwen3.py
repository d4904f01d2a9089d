"""Weight for weight against transformers' own Qwen3."""

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from training.model import DecoderConfig, Prompts
from training.qwen3 import Qwen3Error, decoder_from_qwen3

OURS = DecoderConfig(vocab_size=40, codebook_sizes=(5, 6), embedding_dim=7, vector_dim=4)


def make_qwen3(path: Path, kind: type = Qwen3ForCausalLM, shard: str = "5GB") -> Qwen3Model:
    """A small random Qwen3 with grouped queries, heads wider than d_model / n_heads, and an odd base."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        rope_parameters={"rope_type": "default", "rope_theta": 12_345.0},
        rms_norm_eps=3e-5,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    model = kind(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    model.save_pretrained(path, max_shard_size=shard)
    return model.model if kind is Qwen3ForCausalLM else model


@pytest.mark.parametrize(("kind", "shard"), [(Qwen3ForCausalLM, "5GB"), (Qwen3Model, "10KB")])
def test_hidden_states_equal_those_of_transformers(kind: type, shard: str, tmp_path: Path) -> None:
    qwen3 = make_qwen3(tmp_path, kind, shard)
    decoder, takes_tokens = decoder_from_qwen3(tmp_path, OURS)
    assert takes_tokens
    assert decoder.config.rope_theta == 12_345.0
    assert decoder.config.codebook_sizes == (5, 6)
    tokens = torch.randint(4, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) >= torch.tensor([[0], [3], [7]])
    # An embedding of zeros adds nothing, which is all that Qwen3 knows of one.
    prompts = Prompts(tokens, mask, torch.zeros(3, 7))
    with torch.no_grad():
        theirs = qwen3(input_ids=tokens, attention_mask=mask.long(), position_ids=prompts.positions())
        ours, _ = decoder(decoder.embed_prompts(prompts), prompts.positions(), prompts.attention())
    assert (theirs.last_hidden_state - ours)[mask].abs().max() < 1e-5


def test_token_embeddings_of_another_tokenizer_are_left_out(tmp_path: Path) -> None:
    qwen3 = make_qwen3(tmp_path)
    decoder, takes_tokens = decoder_from_qwen3(tmp_path, DecoderConfig(33, (5, 6), 7))
    assert not takes_tokens
    assert decoder.embed_tokens.weight.shape == (33, 24)
    own = qwen3.layers[1].self_attn.q_proj.weight
    assert torch.equal(decoder.layers[1].self_attn.q_proj.weight, own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llama"}, "is no plain Qwen3 model"),
        ({"use_sliding_window": True}, "is no plain Qwen3 model"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "stretches its rotary positions"),
        ({"hidden_size": None}, "lacks 'hidden_size'"),
        ({"intermediate_size": 41}, "does not tell"),
        ({"num_hidden_layers": 4}, "lacks the weights"),
    ],
)
def test_other_models_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    make_qwen3(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text()) | change
    raw = {name: value for name, value in raw.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(Qwen3Error, match=message):
        decoder_from_qwen3(tmp_path, OURS)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Qwen3Error, match="no readable config"):
        decoder_from_qwen3(tmp_path, OURS)
    make_qwen3(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(Qwen3Error, match="damaged weights"):
        decoder_from_qwen3(tmp_path, OURS)
    weights.unlink()
    with pytest.raises(Qwen3Error, match="has no"):
        decoder_from_qwen3(tmp_path, OURS)
