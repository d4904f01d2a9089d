"""Small decoders with clear preferences, their graphs, and a data directory with a checkpoint to export."""

import csv
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from rich.progress import Progress

from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.reference import ReferenceDecoder
from model_export.session import GraphSession
from sid import OrderingWeights
from training.checkpoint import Provenance, save_checkpoint
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.sids.build import SidSettings, build_sids

Codebooks = tuple[int, ...]

# Later codebooks are smaller than earlier ones, so that a code of the wrong level does not pass unnoticed.
SHAPES: dict[Codebooks, dict[str, int]] = {
    (9,): {"n_layers": 1, "n_heads": 2, "n_kv_heads": 2},
    (7, 3): {"n_layers": 2, "n_heads": 4, "n_kv_heads": 1},
    (6, 4, 5): {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2},
    (5, 2, 3, 2): {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1},
}
SMALL = {"d_model": 16, "head_dim": 8, "d_ff": 24, "vector_dim": 5}


def outspoken(config: DecoderConfig) -> Decoder:
    """An untrained decoder whose log-probabilities differ by several units."""
    torch.manual_seed(0)
    decoder = Decoder(config)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            elif name == "query_head.weight":
                weight.normal_(std=0.2)
            elif name != "item_head.weight":
                weight.mul_(15)
    return decoder.eval()


@pytest.fixture(scope="session")
def decoders() -> dict[Codebooks, Decoder]:
    """Decoders of several lengths and attention shapes, by their codebooks; 40 tokens each."""
    return {
        codebooks: outspoken(DecoderConfig(40, codebooks, embedding_dim=6, **SMALL, **shape))
        for codebooks, shape in SHAPES.items()
    }


@pytest.fixture(scope="session")
def references(decoders: dict[Codebooks, Decoder]) -> dict[Codebooks, ReferenceDecoder]:
    """The same decoders in float64."""
    return {
        codebooks: ReferenceDecoder(decoder.config, weights_of(decoder))
        for codebooks, decoder in decoders.items()
    }


@pytest.fixture(scope="session")
def session_of(decoders: dict[Codebooks, Decoder]) -> Callable[[Codebooks, int], GraphSession]:
    """The graph of a decoder and a beam width, built once."""

    @cache
    def session(codebooks: Codebooks, beam_width: int) -> GraphSession:
        decoder = decoders[codebooks]
        model = build_graph(decoder.config, weights_of(decoder), beam_width)
        return GraphSession(ir.to_proto(model).SerializeToString(), beam_width, threads=1)

    return session


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 items with judged queries, and SIDs over TF-IDF."""
    raw = tmp_path_factory.mktemp("raw")
    titles = [
        f"{colour} {size} {thing}"
        for thing in ("shoe", "lamp", "chair", "kettle", "tent")
        for colour in ("red", "blue", "green", "black")
        for size in ("small", "large")
    ]
    with (raw / "items.jsonl").open("w") as file:
        for row, title in enumerate(titles):
            file.write(json.dumps({"item_id": f"i{row}", "title": title}) + "\n")
    with (raw / "judgments.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "item_id", "grade", "split"))
        for row, title in enumerate(titles):
            split = ("train", "train", "valid", "test")[row % 4]
            writer.writerow((" ".join(title.split()[::-1]), f"i{row}", 3, split))
    data = tmp_path_factory.mktemp("made") / "data"
    prepare(raw / "items.jsonl", None, raw / "judgments.csv", data, PrepareSettings(vocab_size=300))
    build_sids(data, SidSettings(codebooks=(4, 3, 3), dim=12), Progress(disable=True))
    return data


@pytest.fixture(scope="session")
def made_checkpoint(made_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained decoder for that data."""
    dataset = Dataset.load(made_data)
    config = DecoderConfig(
        vocab_size=dataset.tokenizer.get_vocab_size(),
        codebook_sizes=dataset.sids.codebook_sizes,
        embedding_dim=dataset.item_embeddings.shape[1],
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        **SMALL,
    )
    checkpoint = tmp_path_factory.mktemp("made") / "checkpoint"
    ordering = OrderingWeights(tau=0.5, prior=0.25, words=0.125)
    save_checkpoint(checkpoint, outspoken(config), dataset.tokenizer, ordering, Provenance("sft"))
    return checkpoint


@pytest.fixture
def data(made_data: Path, tmp_path: Path) -> Path:
    """A data directory to change at will."""
    return shutil.copytree(made_data, tmp_path / "data")


@pytest.fixture
def checkpoint(made_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint to change at will."""
    return shutil.copytree(made_checkpoint, tmp_path / "checkpoint")
