"""A small shop: its catalogue, its sessions, and models with random weights."""

import json
import random
from pathlib import Path
from typing import Any

import torch

from sid import OrderingWeights
from sid.manifest import sha256
from training.checkpoint import Provenance, save_checkpoint
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig

N_ITEMS = 60
COLOURS, KINDS = ["red", "blue", "green", "黑色"], ["running shoes", "rain boots", "wool hat", "雨伞"]
CODEBOOKS = (4, 4, 4)
ORDERING = OrderingWeights(tau=0.7, prior=0.2, words=0.3, trigrams=0.05, embedding=0.4)
BEAM_WIDTHS = [4, 64]  # the wide one holds every SID there is


def shop_items(rng: random.Random, n_items: int) -> list[dict[str, Any]]:
    """Items with every type of attribute and gaps in some, as they stand in ``items.jsonl``."""
    items = []
    for n in range(n_items):
        colour, kind = rng.choice(COLOURS), rng.choice(KINDS)
        item = {
            "item_id": f"i{n}",
            "title": f"{colour} {kind} No. {n}",
            "category": kind,
            "brand": rng.choice(["Ada", "Bo", "Cy"]) if n % 7 else None,
            "price": round(rng.uniform(1, 100), 2),
            "stock": rng.randrange(20) if n % 5 else None,
            "in_stock": rng.random() < 0.7,
            "tags": rng.sample(["new", "sale", "eco"], k=rng.randrange(3)),
        }
        items.append({name: value for name, value in item.items() if value is not None})
    return items


def write_shop(directory: Path) -> None:
    """A small catalogue with sessions."""
    rng = random.Random(5)
    items = shop_items(rng, N_ITEMS)
    sessions = [
        {"query": f"{colour} {kind}", "positives": [f"i{rng.randrange(N_ITEMS)}"], "negatives": []}
        for colour in COLOURS
        for kind in KINDS
        for _ in range(4)
    ]
    for name, rows in (("items", items), ("sessions", sessions)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def write_checkpoint(path: Path, data: Dataset, seed: int) -> None:
    """A decoder with random weights, large enough for log-probabilities that differ."""
    torch.manual_seed(seed)
    config = DecoderConfig(
        vocab_size=data.tokenizer.get_vocab_size(),
        codebook_sizes=data.sids.codebook_sizes,
        embedding_dim=data.item_embeddings.shape[1],
        vector_dim=8,
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=1,
        head_dim=8,
        d_ff=16,
    )
    decoder = Decoder(config)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_checkpoint(path, decoder, data.tokenizer, ORDERING, Provenance(objective="sft"))


def sign(bundle: Path) -> None:
    """Write the hashes of a bundle's files into its manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"] = {name: sha256(bundle / name) for name in manifest["files"]}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
