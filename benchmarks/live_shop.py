"""A model with random weights, and catalogues of any size for it, made without training."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from model_export.bundle import export_bundle
from model_export.proven_graphs import Precision
from model_export.source import Source
from service.bundle import Bundle
from sid import LexicalIndex, OrderingWeights, SidTable, TfidfEmbedder
from sid.manifest import MANIFEST, sha256
from training.checkpoint import Provenance, save_checkpoint
from training.data.prepare import PrepareSettings, prepare
from training.dataset import Dataset
from training.model import Decoder, DecoderConfig
from training.shop.shop import ShopSettings, write_shop
from training.sids.build import SidSettings, build_sids

SHOP_ITEMS = 2_000
CODEBOOKS, EMBEDDING_DIM, VECTOR_DIM = (128, 128, 128), 256, 64
HEAD_DIM = 16
TITLE_WORDS, WORDS = 8, 20_000
ORDERING = OrderingWeights(tau=0.5, prior=0.1, words=0.3, trigrams=0.05, embedding=0.5)


@dataclass(frozen=True)
class Size:
    """Of a model.

    Attributes:
        d_model, n_layers: of its decoder.
        beam_widths: that are exported.
        precisions: of further graphs beside those in float32.
    """

    d_model: int = 64
    n_layers: int = 2
    beam_widths: tuple[int, ...] = (64,)
    precisions: tuple[Precision, ...] = ()


def export_model(directory: Path, seed: int, size: Size = Size()) -> Path:
    """Make a shop and export a small decoder for it; its answers mean nothing, its work is the real one's."""
    shop, data = directory / "shop", directory / "data"
    write_shop(shop, ShopSettings(SHOP_ITEMS, seed))
    prepare(shop / "items.jsonl", shop / "sessions.jsonl", None, data, PrepareSettings())
    build_sids(data, SidSettings(codebooks=CODEBOOKS, dim=EMBEDDING_DIM, seed=seed), Progress(disable=True))
    dataset = Dataset.load(data)
    torch.manual_seed(seed)
    config = DecoderConfig(
        vocab_size=dataset.tokenizer.get_vocab_size(),
        codebook_sizes=CODEBOOKS,
        embedding_dim=EMBEDDING_DIM,
        vector_dim=VECTOR_DIM,
        d_model=size.d_model,
        n_layers=size.n_layers,
        n_heads=size.d_model // HEAD_DIM,
        n_kv_heads=size.d_model // HEAD_DIM // 2,
        head_dim=HEAD_DIM,
        d_ff=2 * size.d_model,
    )
    checkpoint, bundle = directory / "checkpoint", directory / "bundle"
    save_checkpoint(checkpoint, Decoder(config), dataset.tokenizer, ORDERING, Provenance(objective="sft"))
    source = Source.load(checkpoint, data)
    export_bundle(source, size.beam_widths, "random", bundle, lambda _: None, size.precisions)
    return bundle


def titles(n_items: int, seed: int) -> list[str]:
    """Distinct titles of words as frequent as Zipf has them; the last word is the item's number."""
    words = zipf_words(np.random.default_rng(seed), n_items, TITLE_WORDS)
    return [" ".join([*row, f"n{n}"]) for n, row in enumerate(words)]


def zipf_words(rng: np.random.Generator, rows: int, length: int) -> list[list[str]]:
    """Rows of words as frequent as Zipf has them."""
    numbers: NDArray[np.int64] = (WORDS * rng.random((rows, length)) ** 3).astype(np.int64)
    return [[f"w{number}" for number in row] for row in numbers.tolist()]


def write_catalogue(model: Path, target: Path, texts: Sequence[str]) -> Path:
    """Write a bundle of a model with other items, placed by its embedder and quantiser."""
    bundle = Bundle.load(model)
    embeddings = TfidfEmbedder.load(model / "embedder").embed(texts)
    codes, vectors = bundle.quantizer.encode(embeddings), bundle.item_vectors(embeddings)
    return _write(model, target, texts, LexicalIndex.from_texts(texts), codes, embeddings, vectors)


def write_scattered_catalogue(model: Path, target: Path, texts: Sequence[str], seed: int) -> Path:
    """The same with random SIDs and embeddings, so that items are spread over as many SIDs as can be."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, CODEBOOKS, (len(texts), len(CODEBOOKS)), dtype=np.int32)
    embeddings = rng.standard_normal((len(texts), EMBEDDING_DIM), np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    vectors = Bundle.load(model).item_vectors(embeddings)
    return _write(model, target, texts, LexicalIndex.from_texts(texts), codes, embeddings, vectors)


def write_large_catalogue(model: Path, target: Path, n_items: int, seed: int) -> Path:
    """The same with random SIDs and without words, where only their number matters."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, CODEBOOKS, (n_items, len(CODEBOOKS)), dtype=np.int32)
    texts = [f"item {n}" for n in range(n_items)]
    lexical = LexicalIndex.from_texts([""] * n_items)
    embeddings = np.zeros((n_items, EMBEDDING_DIM), np.float32)
    return _write(model, target, texts, lexical, codes, embeddings, embeddings[:, :VECTOR_DIM])


def _write(
    model: Path,
    target: Path,
    texts: Sequence[str],
    lexical: LexicalIndex,
    codes: NDArray[np.int32],
    embeddings: NDArray[np.float32],
    vectors: NDArray[np.float32],
) -> Path:
    shutil.copytree(model, target)
    n_items = len(texts)
    items = {
        "item_id": [f"item-{n}" for n in range(n_items)],
        "title": texts,
        "price": np.arange(n_items) % 100 + 0.5,
        "in_stock": np.arange(n_items) % 3 > 0,
        "brand": [f"brand {n % 50}" for n in range(n_items)],
    }
    pq.write_table(pa.table(items), target / "items.parquet")
    SidTable.from_item_codes(codes, CODEBOOKS).save(target / "sids.npz")
    lexical.save(target / "lexical.npz")
    np.save(target / "item_embeddings.npy", embeddings)
    np.save(target / "item_vectors.npy", vectors)
    np.save(target / "item_prior.npy", np.zeros(n_items, np.float32))
    manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {name: sha256(target / name) for name in manifest["files"]}
    (target / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return target
