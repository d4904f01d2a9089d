"""A small judged catalogue, prepared by the real code, and an untrained decoder for it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sid import SidTable
from training.data.items import item_texts
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.sids.build import read_items
from training.sids.embedders import embed_items
from training.sids.queries import gather_query_knowledge

COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("shoe", "lamp", "chair", "kettle")
CODEBOOKS = (4, 3)


def add_sids(data: Path, rng: np.random.Generator) -> None:
    """What ``radsearch sids`` writes, but for SIDs that are random."""
    items = read_items(data / "items.parquet")
    source, embeddings = embed_items("tfidf", item_texts(items), 6, 0, lambda _: None)
    (data / "embedder").mkdir()
    source.save(data / "embedder")
    np.save(data / "item_embeddings.npy", embeddings)
    gather_query_knowledge(data, items, source, embeddings, 2, 0, lambda *_: lambda _: None).save(data)
    codes = np.stack([rng.integers(0, size, len(items)) for size in CODEBOOKS], axis=1)
    SidTable.from_item_codes(codes, CODEBOOKS).save(data / "sids.npz")


@pytest.fixture(scope="session")
def judged_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directory of 20 items, 12 test and 8 valid queries, and 2 test queries without a relevant item."""
    rng = np.random.default_rng(5)
    raw, data = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("judged") / "data"
    titles = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    with (raw / "items.jsonl").open("w") as file:
        for row, title in enumerate(titles):
            file.write(json.dumps({"item_id": f"i{row}", "title": title}) + "\n")
    with (raw / "judgments.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("query", "item_id", "grade", "split"))
        for query in range(22):
            text = f"{COLOURS[query % 5]} {THINGS[query % 4]}s no {query}"
            split = "valid" if query < 8 else "test"
            best = 1 if query >= 20 else 3
            for row in rng.choice(len(titles), 6, replace=False):
                writer.writerow((text, f"i{row}", int(rng.integers(0, best + 1)), split))
            if best == 3:
                writer.writerow((f"{text} bis", f"i{query % 20}", 3, "train"))
    prepare(raw / "items.jsonl", None, raw / "judgments.csv", data, PrepareSettings(vocab_size=300))
    add_sids(data, rng)
    return data


@pytest.fixture(scope="session")
def judged_dataset(judged_data: Path) -> Dataset:
    return Dataset.load(judged_data)


@pytest.fixture(scope="session")
def small_decoder(judged_dataset: Dataset) -> Decoder:
    """Untrained, with weights large enough that it has clear preferences."""
    torch.manual_seed(3)
    decoder = Decoder(
        DecoderConfig(
            vocab_size=judged_dataset.tokenizer.get_vocab_size(),
            codebook_sizes=CODEBOOKS,
            embedding_dim=6,
            vector_dim=5,
            d_model=16,
            n_layers=2,
            n_heads=2,
            n_kv_heads=1,
            head_dim=8,
            d_ff=24,
        )
    )
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if name == "query_head.weight":
                weight.normal_(std=0.2)
            elif "norm" not in name:
                weight.mul_(10)
    return decoder.eval()


@pytest.fixture(scope="session")
def session_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directory of 20 items and 48 training sessions, all but 8 with negatives, and 6 valid ones."""
    rng = np.random.default_rng(6)
    raw, data = tmp_path_factory.mktemp("raw"), tmp_path_factory.mktemp("sessions") / "data"
    titles = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS]
    with (raw / "items.jsonl").open("w") as file:
        for row, title in enumerate(titles):
            file.write(json.dumps({"item_id": f"i{row}", "title": title}) + "\n")
    with (raw / "sessions.jsonl").open("w") as file:
        for number in range(54):
            shown = [f"i{row}" for row in rng.choice(len(titles), 6, replace=False)]
            chosen = int(rng.integers(1, 4))
            session = {
                "query": titles[number % 17] if number < 48 else f"query {number}",
                "positives": shown[:chosen],
                "negatives": shown[chosen:] if number % 6 else [],
                "split": "train" if number < 48 else "valid",
            }
            file.write(json.dumps(session) + "\n")
    prepare(raw / "items.jsonl", raw / "sessions.jsonl", None, data, PrepareSettings(vocab_size=300))
    add_sids(data, rng)
    return data


@pytest.fixture(scope="session")
def session_dataset(session_data: Path) -> Dataset:
    return Dataset.load(session_data)
