"""What is exported: a checkpoint and the data it was trained on, checked against each other."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.errors import ExportError
from sid import OrderingWeights
from training.checkpoint import TOKENIZER, load_decoder, load_ordering, read_json
from training.dataset import Dataset
from training.model import Decoder

METRICS = "metrics.json"


@dataclass(frozen=True)
class Queries:
    """Texts with the embeddings that the decoder reads them with.

    Attributes:
        texts: n of them.
        embeddings: float32 [n, embedding_dim].
    """

    texts: list[str]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """A decoder and its catalogue.

    Attributes:
        checkpoint: directory of the decoder.
        decoder: in evaluation mode, on the CPU.
        ordering: how items are scored.
        metrics: what ``radsearch evaluate`` measured; empty where it was not run.
        dataset: the catalogue, its SIDs, and real queries.
    """

    checkpoint: Path
    decoder: Decoder
    ordering: OrderingWeights
    metrics: dict[str, Any]
    dataset: Dataset

    @classmethod
    def load(cls, checkpoint: Path, data: Path) -> "Source":
        """Read both directories.

        Raises:
            RadsearchError: if a file is missing or damaged.
            ExportError: if the checkpoint was not trained on this data.
        """
        source = cls(
            checkpoint=checkpoint,
            decoder=load_decoder(checkpoint),
            ordering=load_ordering(checkpoint),
            metrics=read_json(checkpoint / METRICS) if (checkpoint / METRICS).exists() else {},
            dataset=Dataset.load(data),
        )
        source._check()
        return source

    def queries(self, n_queries: int) -> Queries:
        """Real queries, spread over those held out, else over all.

        Where there are no sessions, titles stand for queries, with the embeddings of their items.
        """
        dataset = self.dataset
        for split in ("test", "valid", "train"):
            texts = list(dict.fromkeys(session.query for session in dataset.sessions(split)))
            if texts:
                chosen = texts[_spread(len(texts), n_queries)]
                return Queries(chosen, dataset.embed(chosen))
        rows = _spread(dataset.n_items, n_queries)
        return Queries(dataset.titles[rows], dataset.item_embeddings[rows])

    def _check(self) -> None:
        config, dataset = self.decoder.config, self.dataset
        if config.codebook_sizes != dataset.sids.codebook_sizes:
            raise self._mismatch(
                f"has codebooks {_sizes(config.codebook_sizes)}, the SIDs in {dataset.path} have "
                f"{_sizes(dataset.sids.codebook_sizes)}"
            )
        embedding_dim = dataset.item_embeddings.shape[1]
        if config.embedding_dim != embedding_dim:
            raise self._mismatch(
                f"reads embeddings of size {config.embedding_dim}, those in {dataset.path} have size "
                f"{embedding_dim}"
            )
        if read_json(self.checkpoint / TOKENIZER) != json.loads(dataset.tokenizer.to_str()):
            raise self._mismatch(f"has another tokenizer than {dataset.path / TOKENIZER}")
        n_tokens = dataset.tokenizer.get_vocab_size()
        if n_tokens > config.vocab_size:
            raise self._mismatch(f"embeds {config.vocab_size:,} tokens, its tokenizer has {n_tokens:,}")
        if dataset.sids.n_leaves == 0:
            raise ExportError(f"{dataset.path} has no SIDs; run 'radsearch sids' on a catalogue with items")

    def _mismatch(self, finding: str) -> ExportError:
        return ExportError(
            f"{self.checkpoint} {finding}; export with the data it was trained on or train again"
        )


def _spread(n: int, n_wanted: int) -> slice:
    step = max(1, n // n_wanted)
    return slice(0, step * n_wanted, step)


def _sizes(sizes: tuple[int, ...]) -> str:
    return ",".join(str(size) for size in sizes)
