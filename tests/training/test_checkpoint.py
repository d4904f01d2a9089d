import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models

from sid import OrderingWeights
from training.checkpoint import (
    CheckpointError,
    Provenance,
    load_decoder,
    load_ordering,
    load_provenance,
    save_checkpoint,
)
from training.model import Decoder, DecoderConfig

CONFIG = DecoderConfig(
    vocab_size=20,
    codebook_sizes=(5, 6),
    embedding_dim=7,
    vector_dim=4,
    d_model=8,
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    head_dim=4,
    d_ff=8,
)
PROVENANCE = Provenance("sft", {"steps": 3}, "runs/parent", {"loss": 1.5})


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Decoder]:
    torch.manual_seed(0)
    decoder = Decoder(CONFIG)
    path = tmp_path / "runs" / "sft"
    save_checkpoint(path, decoder, Tokenizer(models.BPE()), OrderingWeights(2.0, 0.25), PROVENANCE)
    return path, decoder


def test_what_is_saved_is_what_is_loaded(saved: tuple[Path, Decoder]) -> None:
    path, decoder = saved
    loaded = load_decoder(path)
    assert loaded.config == CONFIG
    assert not loaded.training
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert load_ordering(path) == OrderingWeights(2.0, 0.25)
    assert load_provenance(path) == PROVENANCE
    assert Tokenizer.from_file(str(path / "tokenizer.json")).get_vocab_size() == 0


def test_a_new_checkpoint_replaces_the_old_one_and_leaves_nothing_beside_it(
    saved: tuple[Path, Decoder],
) -> None:
    path, decoder = saved
    (path / "metrics.json").write_text("{}")
    save_checkpoint(path, decoder, Tokenizer(models.BPE()), OrderingWeights(), PROVENANCE)
    assert not (path / "metrics.json").exists()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not found; make a checkpoint with 'radsearch train'"):
        load_decoder(tmp_path)


def test_truncated_weights_are_refused(saved: tuple[Path, Decoder]) -> None:
    path, _ = saved
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_decoder(path)


def test_weights_of_another_shape_are_refused(saved: tuple[Path, Decoder]) -> None:
    path, _ = saved
    config = json.loads((path / "config.json").read_text())
    config["decoder"]["d_ff"] = 16
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_decoder(path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "is not JSON"),
        ("config.json", "[]", "holds list, expected a JSON object"),
        ("config.json", "{}", "does not describe a decoder"),
        ("ordering.json", '{"sigma": 1}', "does not hold the weights of the ordering"),
    ],
)
def test_damaged_json_is_named(saved: tuple[Path, Decoder], file: str, content: str, message: str) -> None:
    path, _ = saved
    (path / file).write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_decoder(path)
        load_ordering(path)


def test_missing_weights_and_incomplete_provenance(saved: tuple[Path, Decoder]) -> None:
    path, _ = saved
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="not found; train again"):
        load_decoder(path)
    config = json.loads((path / "config.json").read_text())
    del config["objective"]
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="lacks 'objective'"):
        load_provenance(path)
