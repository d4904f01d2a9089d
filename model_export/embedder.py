"""The embedder as a bundle carries it, so that the service embeds new items without torch.

TF-IDF arrays and the note about a ``.npy`` are copied. A sentence encoder becomes an ONNX graph that gives
unit vectors, with its tokenizer beside it, and is held against sentence-transformers first.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from model_export.errors import ExportError
from sid.tfidf import DESCRIPTION

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ENCODER = "encoder.onnx"
TOKENIZER = "tokenizer.json"
KINDS = ("tfidf", "sentence", "npy")
OPSET = 23
TOLERANCE = 1e-4  # of a coordinate of a unit vector in float32


def write_embedder(source: Path, target: Path, texts: list[str]) -> dict[str, float]:
    """Bring a data directory's embedder into a bundle.

    Args:
        source: ``DATA/embedder``.
        target: directory to make.
        texts: real texts, by which a sentence encoder is proven.

    Returns:
        The proof's figure by name; empty where files were only copied.

    Raises:
        ExportError: if the embedder is missing or damaged, or its graph differs from the model.
    """
    description = _read_description(source / DESCRIPTION)
    if description["kind"] != "sentence":
        shutil.copytree(source, target)
        return {}
    target.mkdir()
    path = Path(description["path"])
    model = _load_sentence_encoder(path)
    tokenizer = tokenizer_of(model)
    graph = encoder_graph(model)
    difference = _difference(graph, tokenizer, model, texts)
    if not difference <= TOLERANCE:
        raise ExportError(
            f"the graph of {path} differs from the model by {difference:.1e}, allowed are {TOLERANCE:.0e}; "
            "please report this model, or run 'radsearch sids' with another --embedder"
        )
    (target / ENCODER).write_bytes(graph)
    tokenizer.save(str(target / TOKENIZER))
    description = {"kind": "sentence", "dim": description["dim"], "encoder": ENCODER, "tokenizer": TOKENIZER}
    (target / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return {"vectors_against_sentence_transformers": difference}


class UnitEmbedding(nn.Module):
    """A sentence-transformers pipeline with plain tensors in and unit vectors out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [B, T] twice → float32 [B, d]."""
        features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        return F.normalize(features["sentence_embedding"], dim=-1)


def encoder_graph(model: nn.Module) -> bytes:
    """Trace a sentence encoder.

    Args:
        model: a sentence-transformers pipeline.

    Returns:
        A serialised ONNX model: input_ids and attention_mask int64 [B, T] → unit_vectors float32 [B, d].
    """
    tokens = torch.ones(2, 8, dtype=torch.int64)
    # With padding in it: for a mask of ones alone the model takes a path that looks at no mask.
    mask = torch.ones(2, 8, dtype=torch.int64).tril(diagonal=3)
    axes = {0: "B", 1: "T"}
    with _quiet_exporter():
        program = torch.onnx.export(
            UnitEmbedding(model).eval(),
            (tokens, mask),
            dynamic_shapes=(axes, axes),
            input_names=["input_ids", "attention_mask"],
            output_names=["unit_vectors"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export gave no graph of the sentence encoder; use another embedder")
    graph: bytes = program.model_proto.SerializeToString()
    return graph


def tokenizer_of(model: "SentenceTransformer") -> Tokenizer:
    """The encoder's tokenizer, set to cut and pad as the encoder does."""
    tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
    if model.max_seq_length is not None:
        tokenizer.enable_truncation(model.max_seq_length)
    tokenizer.enable_padding(pad_id=model.tokenizer.pad_token_id, pad_token=model.tokenizer.pad_token)
    return tokenizer


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what the exporter says about packages it does without and axes that both inputs share."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "# The axis name", UserWarning)
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        known = description["kind"] in KINDS
    except FileNotFoundError as error:
        raise ExportError(f"{path} not found; write it with 'radsearch sids'") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{path} is damaged ({error}); write it again with 'radsearch sids'") from error
    if not known:
        raise ExportError(f"{path} has kind {description['kind']!r}, which is none of {', '.join(KINDS)}")
    return dict(description)


def _load_sentence_encoder(path: Path) -> "SentenceTransformer":
    # Importing this takes seconds, which the other kinds need not wait for.
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for 0.1 s of reading weights
    try:
        return SentenceTransformer(str(path), device="cpu", local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"the sentence encoder {path} cannot be loaded ({reason}); "
            "put it back or run 'radsearch sids' again"
        ) from error


def _difference(graph: bytes, tokenizer: Tokenizer, model: "SentenceTransformer", texts: list[str]) -> float:
    """The largest difference of a coordinate between the graph's vectors and the model's."""
    encodings = tokenizer.encode_batch(texts)
    feeds = {
        "input_ids": np.asarray([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": np.asarray([encoding.attention_mask for encoding in encodings], dtype=np.int64),
    }
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (vectors,) = session.run(["unit_vectors"], feeds)
    expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return float(np.abs(vectors - np.asarray(expected)).max())
