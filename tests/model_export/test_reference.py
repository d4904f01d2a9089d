"""The float64 reference computes what the torch decoder computes."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.proof import score
from model_export.reference import Prompt, ReferenceDecoder, beam_search
from training.model import Decoder

Codebooks = tuple[int, ...]


def prompt_of(*tokens: int) -> Prompt:
    return Prompt(np.asarray(tokens), np.random.default_rng(tokens).standard_normal(6).astype(np.float32))


def every_sid(codebooks: Codebooks) -> NDArray[np.int32]:
    return np.asarray(list(itertools.product(*map(range, codebooks))), dtype=np.int32)


@pytest.mark.parametrize("codebooks", [(9,), (7, 3), (6, 4, 5), (5, 2, 3, 2)])
def test_scores_are_those_of_torch(
    decoders: dict[Codebooks, Decoder], references: dict[Codebooks, ReferenceDecoder], codebooks: Codebooks
) -> None:
    sids, prompt = every_sid(codebooks), prompt_of(1, 17, 4, 4, 39, 2)
    log_probs, vector = score(decoders[codebooks], prompt, sids)
    reference = references[codebooks]
    np.testing.assert_allclose(reference.log_probs(prompt, sids), log_probs.numpy(), atol=2e-5)
    np.testing.assert_allclose(reference.query_vector(prompt), vector.numpy(), atol=1e-6)


@pytest.mark.parametrize("codebooks", [(9,), (7, 3), (6, 4, 5)])
def test_the_probabilities_of_all_sids_sum_to_one(
    references: dict[Codebooks, ReferenceDecoder], codebooks: Codebooks
) -> None:
    log_probs = references[codebooks].log_probs(prompt_of(1, 8, 2), every_sid(codebooks))
    assert np.exp(log_probs).sum() == pytest.approx(1.0, abs=1e-12)


def test_a_wide_search_ranks_all_sids_and_has_no_margin(
    references: dict[Codebooks, ReferenceDecoder],
) -> None:
    reference, prompt, sids = references[6, 4, 5], prompt_of(1, 30, 2), every_sid((6, 4, 5))
    beams = beam_search(reference, prompt, sids, len(sids))
    scores = reference.log_probs(prompt, sids)
    assert beams.log_probs == pytest.approx(dict(zip(map(tuple, sids.tolist()), scores, strict=True)))
    assert list(beams.log_probs.values()) == sorted(beams.log_probs.values(), reverse=True)
    assert beams.margin == np.inf


class Deceptive(ReferenceDecoder):
    """Code 0 promises more than code 1 and keeps less."""

    def __init__(self) -> None:
        pass

    def next_log_probs(self, prompt: Prompt, prefixes: NDArray[np.integer]) -> NDArray[np.float64]:
        if prefixes.shape[1] == 0:
            return np.asarray([[-1.0, -1.5]])
        return np.asarray([[-5.0, -6.0] if prefix[0] == 0 else [-0.1, -7.0] for prefix in prefixes])


def test_a_narrow_search_may_lose_the_best_and_says_by_how_little_it_chose() -> None:
    prompt, sids = prompt_of(1, 2), np.asarray([[0, 0], [0, 1], [1, 0]])
    narrow = beam_search(Deceptive(), prompt, sids, 1)
    assert (narrow.log_probs, narrow.margin) == ({(0, 0): -6.0}, 0.5)
    assert list(beam_search(Deceptive(), prompt, sids, 2).log_probs) == [(1, 0), (0, 0)]
