"""What decides all results of a benchmark beside its jobs: data, starting checkpoint, settings, device."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from benchmarks.objectives.sessions import with_negatives
from benchmarks.objectives.workbench import Bench
from training.checkpoint import ORDERING, WEIGHTS, CheckpointError
from training.dataset import Dataset
from training.metrics import relevant_items
from training.settings import TrainSettings

DATA_FILES = (
    "items.parquet",
    "sessions.parquet",
    "judgments.parquet",
    "tokenizer.json",
    "sids.npz",
    "item_embeddings.npy",
    "query_embeddings.npy",
    "lexical.npz",
)
ALL_TRIALS = (
    "batch_size",
    "warmup",
    "weight_decay",
    "clip_norm",
    "max_positives",
    "max_negatives",
    "vector_weight",
    "temperature",
    "sampled_items",
    "precision",
)
"""Settings of training that all trials share."""


def setup_of(bench: Bench, device: torch.device) -> dict[str, Any]:
    """What a work directory's results were made under; results under another setup are none of this one's.

    Raises:
        CheckpointError: if the starting checkpoint is not there.
    """
    if not (bench.start / WEIGHTS).is_file():
        raise CheckpointError(f"{bench.start / WEIGHTS} not found; name a checkpoint with --from")
    return {
        "data": digest([bench.data / name for name in DATA_FILES]),
        "start": digest([bench.start / WEIGHTS, bench.start / ORDERING]),
        "max_queries": bench.max_queries,
        "beam_width": bench.beam_width,
        "device": device.type,
        **shared_settings(bench.training),
    }


def shared_settings(settings: TrainSettings) -> dict[str, Any]:
    """Settings of training that all trials share, plain for JSON."""
    return settings.model_dump(mode="json", include=set(ALL_TRIALS))


def description(dataset: Dataset, max_queries: int) -> dict[str, Any]:
    """What the data directory holds, as far as it matters here."""
    queries = {
        split: len(relevant_items(dataset.relevance(split), dataset.positive_from))
        for split in ("valid", "test")
    }
    return {
        "path": str(dataset.path),
        "items": dataset.n_items,
        "sids": dataset.sids.n_leaves,
        "codebooks": list(dataset.sids.codebook_sizes),
        "sessions": len(with_negatives(dataset)),
        "queries": queries,
        "judged": {split: min(n, max_queries) for split, n in queries.items()},
    }


def digest(files: list[Path]) -> str:
    """One hash over files; one that is not there counts as empty."""
    whole = hashlib.sha256()
    for path in files:
        contents = path.read_bytes() if path.is_file() else b""
        whole.update(f"{path.name} {len(contents)} ".encode() + contents)
    return whole.hexdigest()[:16]
