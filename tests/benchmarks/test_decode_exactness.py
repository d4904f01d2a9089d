"""The random searches pass, would not pass if the search were wrong, and their oracle is right itself."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.decode import judge_trie_step, judge_whole_graph
from benchmarks.decode.brute_force import brute_force
from benchmarks.decode.catalogues import FILTERS, KINDS, Catalogue
from benchmarks.decode.exactness import SHARES, SHOWN_FAILURES, fuzz
from benchmarks.decode.judge_trie_step import N_STATES, TrieStepJudge, table_steps
from benchmarks.decode.judge_whole_graph import WholeGraphJudge, draw_prompts, outspoken, reference_steps
from model_export.graph_search import DEAD, Beams, Children, Choice, TrieSearch
from model_export.proof import weights_of
from model_export.reference import ReferenceDecoder, beam_search
from training.model import Decoder


def quiet(_: str) -> None:
    """Nobody listens."""


def assert_passed(result: dict[str, Any], n_cases: int) -> None:
    assert result["exact_cases"] >= n_cases
    assert (result["exact_failures"], result["invalid_leaves"], result["failures"]) == (0, 0, [])
    n_answers = result["exact_cases"] + result["ambiguous"]
    assert result["ambiguous"] < 0.05 * result["judges"]["whole graph"]
    assert set(result["catalogues"]) == set(KINDS)
    assert set(result["filters"]) == set(FILTERS)
    for name in ("judges", "catalogues", "filters", "beam_widths"):
        assert sum(result[name].values()) == n_answers


def test_thousands_of_random_searches_are_exact() -> None:
    assert_passed(fuzz(2_000, 0, quiet), 2_000)


@pytest.mark.slow
def test_a_hundred_thousand_random_searches_are_exact() -> None:
    assert_passed(fuzz(100_000, 1, quiet), 100_000)


def test_the_same_seed_asks_the_same() -> None:
    first, second, third = fuzz(200, 3, quiet), fuzz(200, 3, quiet), fuzz(200, 4, quiet)
    for result in (first, second, third):
        del result["seconds"]
    assert first == second != third


class MasksAfterChoosing(TrieSearch):
    """Filters what it has found, instead of finding what the filter leaves over."""

    def children(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        if level < len(self.slots):
            unfiltered = self.g.Or(self.alive, self.g.Not(self.alive))
            return TrieSearch.children(replace(self, alive=unfiltered), beams, code_log_probs, level)
        return super().children(beams, code_log_probs, level)


class LeavesBeamsByScore(TrieSearch):
    """Of equal scores the first beam's child comes first, not the first leaf."""

    def best(self, children: Children, beams: Beams, level: int, in_trie_order: bool) -> Choice:
        return super().best(children, beams, level, in_trie_order=False)


class OverlooksTheLastSlot(TrieSearch):
    """Looks at one child too few."""

    def children(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        g, all_of_them = self.g, super().children(beams, code_log_probs, level)
        last = g.Sub(g.size(all_of_them.log_probs, 1), g.int64([1]))
        slots = g.Range(g.int64(0), g.Squeeze(g.size(all_of_them.log_probs, 1)), g.int64(1))
        log_probs = g.Where(g.Less(slots, last), all_of_them.log_probs, g.float32(DEAD))
        return replace(all_of_them, log_probs=log_probs)


class TakesTheParentForAnother(TrieSearch):
    """Goes on from the first beam's state, whichever beam was chosen."""

    def best(self, children: Children, beams: Beams, level: int, in_trie_order: bool) -> Choice:
        choice = super().best(children, beams, level, in_trie_order)
        first = self.g.Gather(choice.parents, self.g.int64([0]), axis=1)
        return replace(choice, parents=self.g.Add(first, self.g.Mul(choice.parents, self.g.int64(0))))


class KeepsTheDead(TrieSearch):
    """Fills up with what is out of reach."""

    def answer(self, beams: Beams) -> tuple[ir.Value, ir.Value, ir.Value]:
        n_internal = self.g.Sub(self.g.size(self.indptr, 0), self.g.int64(1))
        nodes = self.g.Cast(beams.nodes, to=ir.DataType.INT64)
        leaves = self.g.Cast(self.g.Sub(nodes, n_internal), to=ir.DataType.INT32)
        sids = self.g.Concat(*(self.g.unsqueeze(codes, 2) for codes in beams.codes), axis=2)
        return sids, beams.log_probs, leaves


@pytest.mark.parametrize(
    "broken",
    [
        MasksAfterChoosing,
        LeavesBeamsByScore,
        OverlooksTheLastSlot,
        TakesTheParentForAnother,
        KeepsTheDead,
    ],
)
def test_a_broken_trie_step_is_found(monkeypatch: pytest.MonkeyPatch, broken: type[TrieSearch]) -> None:
    monkeypatch.setattr(judge_trie_step, "TrieSearch", broken)
    result = fuzz(600, 0, quiet)
    assert result["exact_failures"] > 5
    assert len(result["failures"]) == SHOWN_FAILURES
    assert {failure["judge"] for failure in result["failures"]} == {"trie step"}
    assert all(failure["seed"] == 0 for failure in result["failures"])
    assert (result["invalid_leaves"] > 0) == (broken is KeepsTheDead)


def test_a_failure_can_be_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_trie_step, "TrieSearch", LeavesBeamsByScore)
    first, again = (fuzz(600, 0, quiet)["failures"][0] for _ in range(2))
    assert first == again
    assert first["found_leaves"] != first["expected_leaves"]


def test_a_decoder_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_off(decoder: Decoder) -> dict[str, Any]:
        weights = weights_of(decoder)
        return {**weights, "norm.weight": weights["norm.weight"] * 1.001}

    judge = WholeGraphJudge()
    rng = np.random.default_rng(0)
    assert not judge.judge("spread", rng).failed.any()
    monkeypatch.setattr(judge_whole_graph, "weights_of", slightly_off)
    judge = WholeGraphJudge()
    judge._reference = lambda sizes: ReferenceDecoder(outspoken(sizes).config, weights_of(outspoken(sizes)))
    assert judge.judge("spread", rng).failed.any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(list(SHARES)), beam_width=st.sampled_from([1, 4, 99])
)
def test_the_brute_force_is_the_reference_search(seed: int, kind: str, beam_width: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = (6, 5, 4)
    reference = ReferenceDecoder(outspoken(sizes).config, weights_of(outspoken(sizes)))
    prompts = draw_prompts(2, rng).unpadded()
    catalogue = Catalogue.draw(kind, sizes, rng)
    allowed = rng.random((2, len(catalogue.sids))) < 0.7
    ranking = brute_force(catalogue.sids, allowed, beam_width, reference_steps(reference, prompts))
    for row, prompt in enumerate(prompts):
        expected = beam_search(reference, prompt, catalogue.sids[allowed[row]], beam_width)
        found = ranking.leaves[row][ranking.leaves[row] >= 0]
        assert [tuple(sid) for sid in catalogue.sids[found].tolist()] == list(expected.log_probs)
        np.testing.assert_allclose(ranking.log_probs[row, : len(found)], list(expected.log_probs.values()))
        assert (ranking.log_probs[row, len(found) :] == DEAD).all()
        assert ranking.margins[row] <= expected.margin + 1e-9


def test_a_margin_is_the_smallest_difference_that_decided() -> None:
    """Level 0 keeps 2 of 3 codes by 4 units of 1/8, level 1 keeps 2 of 4 by 3, which differ by 1."""
    sids = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]])
    scores = np.full((1, 2, N_STATES, 3), -99)
    scores[0, 0, 0] = [0, -2, -6]
    scores[0, 1, 0, :2] = [-10, -50]
    scores[0, 1, 1, :2] = [-9, -12]
    ranking = brute_force(sids, np.ones((1, 5), dtype=bool), 2, table_steps(scores))
    assert ranking.leaves.tolist() == [[0, 2]]
    assert ranking.log_probs.tolist() == [[-10 / 8, -11 / 8]]
    assert ranking.margins.tolist() == [1 / 8]
    scores[0, 1, 1, 1] = -9  # and now the second and the third are equal
    ranking = brute_force(sids, np.ones((1, 5), dtype=bool), 2, table_steps(scores))
    assert ranking.leaves.tolist() == [[0, 2]]
    assert ranking.margins.tolist() == [0]


@pytest.mark.parametrize("kind", KINDS)
def test_catalogues_hold_the_same_sids_twice(kind: str) -> None:
    catalogue = Catalogue.draw(kind, (300, 7, 300), np.random.default_rng(0))
    np.testing.assert_array_equal(catalogue.table.codes, catalogue.sids)
    assert catalogue.trie.n_leaves == len(catalogue.sids)


def test_a_beam_wider_than_the_catalogue_is_among_the_cases() -> None:
    judge = TrieStepJudge()
    judgements = [judge.judge("spread", np.random.default_rng(seed)) for seed in range(12)]
    assert any(
        judgement.asked.beam_width > max(judgement.asked.catalogue.table.n_leaves, 300)
        for judgement in judgements
    )
    assert any(
        judgement.asked.beam_width < judgement.asked.catalogue.table.n_leaves for judgement in judgements
    )
