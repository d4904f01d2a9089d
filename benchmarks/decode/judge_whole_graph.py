"""The whole graph with small random decoders, held against the float64 reference.

Where two scores whose order decides lie closer than float32 can tell, the case is ambiguous: then its leaves
have to be valid and its scores right, whatever their order.
"""

from functools import cache

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from benchmarks.decode.brute_force import Steps, brute_force
from benchmarks.decode.catalogues import Catalogue
from benchmarks.decode.judgement import Asked, Judgement
from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.reference import Prompt, ReferenceDecoder
from model_export.session import Answers, GraphSession, Prompts
from training.model import Decoder, DecoderConfig
from training.tokenizer import BOS, EOS, SEP

TOLERANCE = 1e-4  # of a log-probability in float32
LOUDNESS = 15.0  # factor on initial weights: log-probabilities then differ by units
BATCH_SIZE = 16
BEAM_WIDTHS = (1, 3, 10, 150)
VOCAB_SIZE, EMBEDDING_DIM, LONGEST_PROMPT = 40, 6, 9
# Later codebooks are smaller, so that a code of the wrong level does not pass unnoticed. Few SIDs, because
# the more are ranked, the more of them are neighbours that float32 cannot tell apart.
DECODERS: dict[tuple[int, ...], dict[str, int]] = {
    (60,): {"n_layers": 1, "n_heads": 2, "n_kv_heads": 2},
    (12, 7): {"n_layers": 2, "n_heads": 4, "n_kv_heads": 1},
    (6, 5, 4): {"n_layers": 2, "n_heads": 4, "n_kv_heads": 2},
    (5, 3, 4, 2): {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1},
}


class WholeGraphJudge:
    """Holds exported decoders against the reference."""

    def __init__(self) -> None:
        self._decoder = cache(outspoken)
        self._reference = cache(self._build_reference)
        self._session = cache(self._build_session)

    def judge(self, kind: str, rng: np.random.Generator) -> Judgement:
        """Draw a batch over a catalogue of this kind, answer and judge it."""
        sizes = list(DECODERS)[rng.integers(len(DECODERS))]
        asked = Asked.draw(Catalogue.draw(kind, sizes, rng), int(rng.choice(BEAM_WIDTHS)), BATCH_SIZE, rng)
        prompts = draw_prompts(BATCH_SIZE, rng)
        answers = asked.search(self._session(sizes, asked.beam_width), prompts, rng)
        reference, unpadded = self._reference(sizes), prompts.unpadded()
        steps = reference_steps(reference, unpadded)
        expected = brute_force(asked.catalogue.sids, asked.allowed, asked.beam_width, steps)
        exact = expected.margins > TOLERANCE
        right = asked.well_formed(answers) & scores_hold(answers, reference, unpadded)
        right &= (answers.leaves == expected.leaves).all(axis=1) | ~exact
        return Judgement("whole graph", asked, answers, expected, exact, ~right)

    def _build_reference(self, sizes: tuple[int, ...]) -> ReferenceDecoder:
        decoder = self._decoder(sizes)
        return ReferenceDecoder(decoder.config, weights_of(decoder))

    def _build_session(self, sizes: tuple[int, ...], beam_width: int) -> GraphSession:
        decoder = self._decoder(sizes)
        model = build_graph(decoder.config, weights_of(decoder), beam_width)
        return GraphSession(ir.to_proto(model).SerializeToString(), beam_width, threads=1)


def outspoken(sizes: tuple[int, ...]) -> Decoder:
    """An untrained decoder, one of ``DECODERS``, whose log-probabilities differ by several units."""
    torch.manual_seed(0)
    config = DecoderConfig(
        VOCAB_SIZE, sizes, EMBEDDING_DIM, vector_dim=5, d_model=16, head_dim=8, d_ff=24, **DECODERS[sizes]
    )
    decoder = Decoder(config).eval()
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
            else:
                weight.mul_(LOUDNESS)
    return decoder


def draw_prompts(batch_size: int, rng: np.random.Generator) -> Prompts:
    """Prompts of mixed length, with padding before the longest, too, and random embeddings."""
    lengths = rng.integers(2, LONGEST_PROMPT, (batch_size, 1), endpoint=True)
    width = int(lengths.max() + rng.integers(0, 4))
    tokens = rng.integers(EOS + 1, VOCAB_SIZE, (batch_size, width))
    tokens[np.arange(width) == width - lengths] = BOS
    tokens[:, -1] = SEP
    mask = np.arange(width) >= width - lengths
    embeddings = rng.standard_normal((batch_size, EMBEDDING_DIM), dtype=np.float32)
    return Prompts(np.where(mask, tokens, 0), mask, embeddings)


def reference_steps(reference: ReferenceDecoder, prompts: list[Prompt]) -> Steps:
    """The reference's scores for the brute force."""

    def steps(
        parents: NDArray[np.int64], parent: NDArray[np.int64], codes: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        return np.stack([reference.next_log_probs(prompt, parents)[parent, codes] for prompt in prompts])

    return steps


def scores_hold(answers: Answers, reference: ReferenceDecoder, prompts: list[Prompt]) -> NDArray[np.bool_]:
    """Whether every SID found has the reference's log-probability: bool [B]."""
    good = []
    for prompt, leaves, sids, log_probs in zip(
        prompts, answers.leaves, answers.sids, answers.log_probs, strict=True
    ):
        found = leaves != -1
        expected = reference.log_probs(prompt, sids[found])
        good.append(bool(np.allclose(log_probs[found], expected, rtol=0, atol=TOLERANCE)))
    return np.asarray(good, dtype=bool)
