"""Embeddings of queries, by the embedder that the bundle's items were embedded with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from service.device import Device, Resident, load_graph
from sid import TfidfEmbedder
from sid.manifest import BundleError
from sid.tfidf import DESCRIPTION

Embeddings = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into embeddings; may be called by several threads at once."""

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed at least one text: float32 [n, d], unit rows; zeros for a text that it knows nothing of."""
        ...


@dataclass(frozen=True)
class SentenceEncoder:
    """A sentence encoder: one run of its graph per batch.

    Attributes:
        session: gives the unit vectors.
        device: that runs it.
        tokenizer: cuts and pads as the encoder needs it.
    """

    session: Resident[ort.InferenceSession]
    device: Device
    tokenizer: Tokenizer

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts, see :class:`Embedder`."""
        encodings = self.tokenizer.encode_batch_fast(list(texts))
        feeds = {
            "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64),
        }
        (vectors,) = self.device.run(lambda: self.session.value.run(["unit_vectors"], feeds))
        embeddings: Embeddings = vectors
        return embeddings


@dataclass(frozen=True)
class NoEmbedder:
    """Stands where the items' embeddings were made elsewhere: the decoder was trained with zeros."""

    dim: int

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Zeros, float32 [n, dim]."""
        return np.zeros((len(texts), self.dim), dtype=np.float32)


def load_embedder(directory: Path, device: Device, intra_threads: int) -> Embedder:
    """Read the embedder of a bundle.

    Args:
        directory: ``embedder/`` of the bundle.
        device: that runs a sentence encoder.
        intra_threads: of its runs.

    Raises:
        BundleError: if it is damaged or of an unknown kind.
        ServiceError: if onnxruntime would run an encoder elsewhere.
    """
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        match description["kind"]:
            case "tfidf":
                return TfidfEmbedder.load(directory)
            case "sentence":
                return SentenceEncoder(
                    load_graph(directory / description["encoder"], device, intra_threads),
                    device,
                    _load_tokenizer(directory / description["tokenizer"]),
                )
            case "npy":
                return NoEmbedder(int(description["dim"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} describes no embedder ({error}); export the bundle again") from error
    raise BundleError(
        f"{path} is of the unknown kind {description['kind']!r}; export the bundle again with this release"
    )


def _load_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions for whatever is wrong in the file
        raise BundleError(f"{path} is not a tokenizer ({error}); export the bundle again") from error
