"""The contenders of ``radsearch bench decode`` that search with a decoder."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.decode import speed
from benchmarks.decode.cell import Pace
from benchmarks.decode.eager import eager_search
from benchmarks.decode.generate import Generate, allowed_tokens, first_codes
from benchmarks.decode.setup import Setup, Shape
from benchmarks.decode.speed import CONTENDERS, DecodeError, Found, SpeedSettings, compare, measure
from sid import SidTable
from training.model import Prompts
from training.search import TrieTree, beam_search, prefill

CPU = torch.device("cpu")
TINY = Shape(d_model=32, n_layers=2, vocab_size=40, codebooks=(9, 7, 8), n_sids=60, prompt_tokens=6)
N_SIDS = TINY.n_sids


@pytest.fixture(scope="module")
def setup() -> Setup:
    return Setup.make(TINY, seed=0)


def padded(prompts: Prompts) -> Prompts:
    """Prompts the first of which is two tokens shorter."""
    mask = prompts.mask.clone()
    mask[0, :2] = False
    return replace(prompts, mask=mask)


@pytest.mark.parametrize("beam_width", [1, 5, 20, N_SIDS, N_SIDS + 7])
def test_the_eager_search_finds_what_the_trainings_search_finds(setup: Setup, beam_width: int) -> None:
    prompts, tree = padded(setup.prompts(3)), TrieTree.from_trie(setup.trie)
    found = eager_search(setup.decoder, prompts, tree, beam_width)
    expected = beam_search(setup.decoder, prompts, tree, beam_width)
    torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-4, rtol=1e-5)
    assert torch.equal(found.sids, expected.sids)
    assert torch.equal(found.leaves, expected.leaves)
    torch.testing.assert_close(found.query_vectors, expected.query_vectors, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("beam_width", [3, 20, N_SIDS + 7])
def test_the_eager_search_finds_what_the_graph_finds(setup: Setup, beam_width: int) -> None:
    prompts = padded(setup.prompts(3))
    ours, eager = (CONTENDERS[name].make(setup, beam_width)(prompts) for name in ("ours", "eager"))
    assert ours.log_probs is not None
    assert eager.log_probs is not None
    np.testing.assert_allclose(eager.log_probs, ours.log_probs, atol=1e-4, rtol=1e-5)
    np.testing.assert_array_equal(eager.sids, ours.sids)


def test_generate_has_the_decoders_weights(setup: Setup) -> None:
    """Its distribution after the prompt, cut to the codes of level 0, is the decoder's."""
    prompts = setup.prompts(3)
    model = Generate(setup.decoder, setup.table, 1)._model
    with torch.inference_mode():
        logits = model(prompts.tokens).logits[:, -1, 40:49]
        expected = setup.decoder.code_log_probs(prefill(setup.decoder, prompts)[0], 0)
    torch.testing.assert_close(logits.log_softmax(dim=-1), expected, atol=1e-4, rtol=1e-5)


def test_generate_with_enough_beams_finds_every_sid(setup: Setup) -> None:
    found = Generate(setup.decoder, setup.table, N_SIDS + 3).search(setup.prompts(2))
    assert found.shape == (2, N_SIDS + 3, 3)
    for row in found.numpy():
        exist = row[setup.table.find(row) >= 0]
        np.testing.assert_array_equal(np.unique(exist, axis=0), setup.table.codes)


def test_generate_with_few_beams_finds_sids_that_exist(setup: Setup) -> None:
    found = Generate(setup.decoder, setup.table, 4).search(setup.prompts(3))
    assert (setup.table.find(found.numpy()) >= 0).all()
    assert all(len(np.unique(row.numpy(), axis=0)) == 4 for row in found)


def test_after_a_prefix_the_codes_that_exist_are_allowed(setup: Setup) -> None:
    sids = [[0, 1, 2], [0, 1, 3], [0, 2, 2], [5, 1, 2]]
    table = SidTable.from_item_codes(np.asarray(sids), TINY.codebooks)
    first = first_codes(setup.decoder.config)
    assert first == [40, 49, 56]
    assert allowed_tokens(table, first) == {
        (): [40, 45],
        (40,): [50, 51],
        (40, 50): [58, 59],
        (40, 51): [58],
        (45,): [50],
        (45, 50): [58],
    }


def test_contenders_are_measured_where_figures_compare_them() -> None:
    figures = measure(SpeedSettings(Pace(rounds=2, turn_s=0.0), (TINY,), (3, 5)), 0, CPU, lambda _: None)
    cells = {(row["beam_width"], row["batch_size"]): row for row in figures["decode"]}
    assert cells.keys() == {(k, b) for k in (3, 5) for b in (1, 8, 32)}
    for (_, batch_size), row in cells.items():
        assert row["shape"] == "32x2"
        assert row["milliseconds"].keys() == {"ours", "int8", "eager"} | (
            {"generate"} if batch_size == 8 else set()
        )
        assert all(0 < time < math.inf for time in row["milliseconds"].values())


def test_a_speedup_is_the_peers_time_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"ours": 2.0, "int8": 1.0, "eager": 3.0, "generate": 50.0}
    monkeypatch.setattr(speed, "milliseconds", lambda runs, *_: {name: times[name] for name in runs})
    figures = measure(SpeedSettings(Pace(1, 0.0), (TINY,), (32,)), 0, CPU, lambda _: None)
    assert figures["speedup_vs_generate_k32"] == 25.0
    assert figures["speedup_vs_eager_b1"] == figures["speedup_vs_eager_b32"] == 1.5
    assert (figures["speedup_of_int8_b1"], figures["speedup_of_int8_vs_generate_k32"]) == (2.0, 50.0)
    assert "speedup_vs_generate_k128" not in figures


def test_contenders_that_find_something_else_are_no_contenders(setup: Setup) -> None:
    ours = Found(setup.table.codes[None, :4], np.zeros((1, 4), np.float32))
    compare({"ours": ours, "generate": Found(ours.sids, None)}, setup.table)
    with pytest.raises(DecodeError, match="of eager and ours differ by 5"):
        compare({"ours": ours, "eager": Found(ours.sids, np.full((1, 4), 5e-1, np.float32))}, setup.table)
    combinations = np.stack(np.unravel_index(np.arange(9 * 7 * 8), TINY.codebooks), axis=1)
    unknown = combinations[setup.table.find(combinations) < 0][None, :4]
    with pytest.raises(DecodeError, match="generate found a SID that does not exist"):
        compare({"ours": ours, "generate": Found(unknown, None)}, setup.table)
