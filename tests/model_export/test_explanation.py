"""A graph with runners-up ranks what it kept and what it pruned as the reference does."""

import numpy as np
import onnx_ir as ir
import pytest

from model_export.graph import build_graph
from model_export.proof import weights_of
from model_export.reference import ReferenceDecoder
from model_export.session import GraphSession, Prompts
from sid import SidTable, Trie, explain
from training.model import Decoder

CODEBOOKS = (6, 4, 5)
BEAM_WIDTH, RUNNERS_UP = 4, 3


@pytest.fixture
def table() -> SidTable:
    rng = np.random.default_rng(3)
    return SidTable.from_item_codes(np.stack([rng.integers(0, v, 40) for v in CODEBOOKS], axis=1), CODEBOOKS)


@pytest.fixture
def prompts() -> Prompts:
    rng = np.random.default_rng(5)
    tokens, embeddings = rng.integers(4, 40, (2, 5)), rng.standard_normal((2, 6), np.float32)
    return Prompts(tokens, np.ones((2, 5), bool), embeddings)


def session(decoder: Decoder, runners_up: int) -> GraphSession:
    graph = build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, runners_up=runners_up)
    return GraphSession(ir.to_proto(graph).SerializeToString(), BEAM_WIDTH, threads=1)


def test_levels_are_ranked_as_by_the_reference(
    decoders: dict[tuple[int, ...], Decoder],
    references: dict[tuple[int, ...], ReferenceDecoder],
    table: SidTable,
    prompts: Prompts,
) -> None:
    trie, reference = Trie.from_table(table), references[CODEBOOKS]
    explaining = session(decoders[CODEBOOKS], RUNNERS_UP)
    answers = explaining.search(prompts, trie)
    plain = session(decoders[CODEBOOKS], 0).search(prompts, trie)
    np.testing.assert_array_equal(answers.leaves, plain.leaves)
    rankings = explaining.rankings(prompts, trie)
    for row, prompt in enumerate(prompts.unpadded()):
        of_row = [type(level)(level.nodes[row], level.log_probs[row]) for level in rankings]
        explained = explain(trie, of_row, BEAM_WIDTH, answers.leaves[row])
        for sid, steps in zip(answers.sids[row].tolist(), explained.steps, strict=True):
            assert [step.code for step in steps] == sid
            for level, step in enumerate(steps):
                expected = reference.next_log_probs(prompt, np.asarray([sid[:level]], dtype=np.int64))[0]
                assert step.log_prob == pytest.approx(expected[sid[level]], abs=1e-4)
        kept = [()]
        for level in range(len(CODEBOOKS)):
            known = {tuple(sid[: level + 1]) for sid in table.codes.tolist() if tuple(sid[:level]) in kept}
            totals = {
                prefix: sum(
                    reference.next_log_probs(prompt, np.asarray([prefix[:n]], dtype=np.int64))[0][prefix[n]]
                    for n in range(level + 1)
                )
                for prefix in known
            }
            ranked = sorted(known, key=lambda prefix: -totals[prefix])
            kept = ranked[:BEAM_WIDTH]
            pruned = explained.pruned[level]
            assert [one.prefix for one in pruned] == ranked[BEAM_WIDTH : BEAM_WIDTH + RUNNERS_UP]
            for one in pruned:
                assert one.log_prob == pytest.approx(totals[one.prefix], abs=1e-4)
                assert one.behind >= 0


def test_without_runners_up_nothing_of_it_is_in_the_graph(decoders: dict[tuple[int, ...], Decoder]) -> None:
    decoder = decoders[CODEBOOKS]
    plain, explaining = (
        build_graph(decoder.config, weights_of(decoder), BEAM_WIDTH, runners_up=n).graph for n in (0, 2)
    )
    assert len(plain.outputs) == 4
    assert len(explaining.outputs) == 4 + 2 * len(CODEBOOKS)
    assert len(plain) < len(explaining)
