"""Embedding by a sentence-transformers model that lies on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from sid.tfidf import DESCRIPTION
from training.data.errors import DataError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 64


@dataclass(frozen=True)
class SentenceEmbedder:
    """A sentence encoder.

    Attributes:
        path: directory of the model.
        model: what was loaded from it, on the GPU where there is one.
    """

    kind: ClassVar[str] = "sentence"

    path: Path
    model: SentenceTransformer

    @classmethod
    def from_path(cls, path: Path) -> SentenceEmbedder:
        """Load a model; never from the network.

        Raises:
            DataError: if the path is not the directory of a model.
        """
        if not (path / "config.json").is_file():
            raise DataError(f"{path} is no directory of a sentence-transformers model; download one there")
        # Importing these takes seconds, which TF-IDF need not wait for.
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

        disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for 0.1 s of reading weights
        try:
            return cls(path, SentenceTransformer(str(path), local_files_only=True))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{path} cannot be loaded ({reason}); download the model again") from error

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        return int(self.model.get_embedding_dimension() or 0)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32 [n, d], unit rows."""
        vectors = self.model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)

    def save(self, directory: Path) -> None:
        """Write ``embedder.json``; the model itself stays where it is."""
        description = {
            "kind": self.kind,
            "path": str(self.path.resolve()),
            "dim": self.dim,
        }
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
