"""The choices of ``--embedder``: TF-IDF, a sentence encoder by path, or embeddings made elsewhere."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from sid.tfidf import DESCRIPTION, TfidfEmbedder
from training.data.errors import DataError
from training.sids.sentence import SentenceEmbedder

Embeddings = NDArray[np.float32]

CHUNK = 512  # texts between two steps of the progress bar
FORMS = "tfidf, sentence:PATH or npy:PATH"


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def dim(self) -> int:
        """Size d of an embedding."""
        ...

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts: float32 [n, d], unit rows; zeros for a text with nothing to embed."""
        ...


class EmbeddingSource(Protocol):
    """Where item embeddings come from, as kept in ``DATA/embedder/``."""

    def save(self, directory: Path) -> None:
        """Write ``embedder.json`` and what belongs to it."""
        ...


@dataclass(frozen=True)
class EmbeddingFile:
    """Item embeddings from a ``.npy``: nothing is known about how a text would be embedded.

    Attributes:
        path: the file.
        dim: size of its embeddings.
    """

    kind: ClassVar[str] = "npy"

    path: Path
    dim: int

    def save(self, directory: Path) -> None:
        """Write ``embedder.json``."""
        description = {"kind": self.kind, "path": str(self.path.resolve()), "dim": self.dim}
        (directory / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def embed_items(
    choice: str, texts: Sequence[str], dim: int, seed: int, on_items: Callable[[int], None]
) -> tuple[EmbeddingSource, Embeddings]:
    """Embed all items.

    Args:
        choice: "tfidf", "sentence:PATH" or "npy:PATH".
        texts: one per item.
        dim: size of TF-IDF embeddings; the other choices bring their own.
        seed: of the SVD.
        on_items: called with the number of items that were just embedded.

    Returns:
        What was used, and float32 [n_items, d] with unit rows; a row of zeros for a text with nothing to
        embed.

    Raises:
        DataError: if the choice is unknown, or what it names cannot be used.
    """
    kind, _, path = choice.partition(":")
    if choice == "tfidf":
        # Importing scikit-learn takes a second, which those who only read an embedder need not wait for.
        from training.sids.tfidf import fit_tfidf  # noqa: PLC0415

        tfidf = fit_tfidf(texts, dim, seed)
        return tfidf, _embed(tfidf, texts, on_items)
    if kind == "sentence" and path:
        sentence = SentenceEmbedder.from_path(Path(path))
        return sentence, _embed(sentence, texts, on_items)
    if kind == "npy" and path:
        embeddings = read_embeddings(Path(path), len(texts))
        on_items(len(texts))
        return EmbeddingFile(Path(path), embeddings.shape[1]), embeddings
    raise DataError(f"--embedder {choice!r} is none of {FORMS}")


def embed_texts(
    source: EmbeddingSource, texts: Sequence[str], dim: int, on_texts: Callable[[int], None]
) -> Embeddings:
    """Embed other texts than the items' by what embedded the items.

    Returns:
        float32 [n, dim]; zeros where the items' embeddings came from a ``.npy``, which knows no texts.
    """
    if isinstance(source, TfidfEmbedder | SentenceEmbedder):
        return _embed(source, texts, on_texts)
    on_texts(len(texts))
    return np.zeros((len(texts), dim), dtype=np.float32)


def load_embedder(directory: Path) -> Embedder | None:
    """Read the embedder of a data directory, to embed texts as its items were.

    Returns:
        None where the embeddings came from a ``.npy``, which knows no texts.

    Raises:
        DataError: if it is missing or damaged.
    """
    path = directory / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        kind = description["kind"]
        if kind == TfidfEmbedder.kind:
            return TfidfEmbedder.load(directory)
        if kind == SentenceEmbedder.kind:
            return SentenceEmbedder.from_path(Path(description["path"]))
        if kind == EmbeddingFile.kind:
            return None
    except FileNotFoundError as error:
        raise DataError(f"{path} not found; write it with 'radsearch sids'") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); write it again with 'radsearch sids'") from error
    raise DataError(f"{path} is of the unknown kind {kind!r}; write it again with 'radsearch sids'")


def read_embeddings(path: Path, n_items: int) -> Embeddings:
    """Read item embeddings made elsewhere and bring their rows to unit length.

    Args:
        path: a ``.npy``, float [n_items, d], row i for item row i.
        n_items: how many rows it must have.

    Raises:
        DataError: if the file is missing, damaged, of another shape or type, or holds NaN or infinity.
    """
    try:
        given = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path} not found; check the path after npy:") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is no .npy of plain numbers ({error}); write it with numpy.save") from error
    if not isinstance(given, np.ndarray) or given.ndim != 2 or given.dtype.kind != "f" or given.shape[1] == 0:
        raise DataError(f"{path} holds {_form(given)}, expected float32 [n_items, d]")
    if len(given) != n_items:
        raise DataError(
            f"{path} has {len(given):,} rows, items.parquet has {n_items:,}; embed the items in its order"
        )
    bad = np.flatnonzero(~np.isfinite(given).all(axis=1))
    if len(bad):
        raise DataError(f"{path} has NaN or infinity in {len(bad):,} rows, first in row {bad[0]}; mend them")
    vectors = given.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def _embed(embedder: Embedder, texts: Sequence[str], on_items: Callable[[int], None]) -> Embeddings:
    chunks = [np.zeros((0, embedder.dim), dtype=np.float32)]
    for start in range(0, len(texts), CHUNK):
        chunks.append(embedder.embed(texts[start : start + CHUNK]))
        on_items(len(chunks[-1]))
    return np.concatenate(chunks)


def _form(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"{given.dtype} {list(given.shape)}"
    return "several arrays"
