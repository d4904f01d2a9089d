"""The trie step alone: our graph's nodes, STATIC, and the training's tree agree."""

import numpy as np
import pytest
import torch

from benchmarks.decode.cell import Pace
from benchmarks.decode.setup import random_table
from benchmarks.decode.speed import DecodeError
from benchmarks.decode.static import StaticIndex
from benchmarks.decode.trie_speed import TrieSettings, compare, measure, random_logits
from benchmarks.decode.trie_step import TrieStep, trie_inputs
from sid import SidTable, Trie

CODEBOOKS = (12, 9, 10)


def tables() -> dict[str, SidTable]:
    # The last codebook is small and full of codes that lie past the one of level 1.
    return {
        "uniform": random_table(300, CODEBOOKS, 0.0, seed=0),
        "skewed": random_table(300, CODEBOOKS, 1.1, seed=1),
        "few": random_table(7, CODEBOOKS, 0.0, seed=2),
        "one": random_table(1, CODEBOOKS, 0.0, seed=3),
    }


def brute_force(
    table: SidTable, logits: list[torch.Tensor], row: int, beam_width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The K best prefixes level by level, each scored by its codes: SIDs [≤ K, L] and log-probabilities."""
    scores = [of_level[row, 0].log_softmax(dim=-1).numpy() for of_level in logits]
    kept, totals = np.zeros((1, 0), np.int64), np.zeros(1)
    for level in range(len(logits)):
        prefixes = np.unique(table.codes[:, : level + 1], axis=0)
        parents = {tuple(prefix): total for prefix, total in zip(kept.tolist(), totals, strict=True)}
        grown = [prefix for prefix in prefixes.tolist() if tuple(prefix[:-1]) in parents]
        sums = np.asarray([parents[tuple(prefix[:-1])] + scores[level][prefix[-1]] for prefix in grown])
        order = np.argsort(-sums, kind="stable")[:beam_width]
        kept, totals = np.asarray(grown)[order], sums[order]
    return kept, totals


@pytest.mark.parametrize("kind", ["uniform", "skewed", "few", "one"])
@pytest.mark.parametrize("beam_width", [1, 5, 12])
@pytest.mark.parametrize("dense_levels", [1, 2])
def test_static_and_our_step_find_the_best(kind: str, beam_width: int, dense_levels: int) -> None:
    table = tables()[kind]
    trie = Trie.from_table(table)
    logits = random_logits(3, beam_width, CODEBOOKS, seed=5)
    tensors = [torch.from_numpy(of_level) for of_level in logits]
    sids, log_probs = TrieStep(3, beam_width, threads=1).search(logits, trie_inputs(trie))
    static = StaticIndex.from_trie(trie, CODEBOOKS, dense_levels).search(tensors, beam_width)
    compare((sids, log_probs), static)
    for row in range(3):
        expected, totals = brute_force(table, tensors, row, beam_width)
        n = len(expected)
        np.testing.assert_array_equal(sids[row, :n], expected)
        np.testing.assert_array_equal(static.sids[row, :n].numpy(), expected)
        np.testing.assert_allclose(static.log_probs[row, :n].numpy(), totals, atol=1e-5)
        np.testing.assert_allclose(log_probs[row, :n], totals, atol=1e-5)
        assert (sids[row, n:] == -1).all()
        assert torch.isneginf(static.log_probs[row, n:]).all()


def test_sides_that_differ_are_not_timed() -> None:
    trie = Trie.from_table(tables()["uniform"])
    logits = random_logits(1, 4, CODEBOOKS, seed=0)
    other = [torch.from_numpy(of_level) for of_level in random_logits(1, 4, CODEBOOKS, seed=1)]
    ours = TrieStep(3, 4, threads=1).search(logits, trie_inputs(trie))
    with pytest.raises(DecodeError, match="the trie step and of STATIC differ by"):
        compare(ours, StaticIndex.from_trie(trie, CODEBOOKS, 2).search(other, 4))


def test_the_worst_shape_of_the_grid_decides() -> None:
    settings = TrieSettings(Pace(rounds=2, turn_s=0.0), (16,), (100, 200), (0.0, 1.1), (1, 2), (3, 8))
    measured = measure(settings, 0, torch.device("cpu"), lambda _: None)
    rows = measured["trie"]
    keys = ("codebook", "n_sids", "skew", "batch_size", "beam_width")
    assert len({tuple(row[key] for key in keys) for row in rows}) == len(rows) == 16
    for row in rows:
        times = row["milliseconds"]
        assert times.keys() == {"ours", "static", "static, one dense level"}
        faster = min(times["static"], times["static, one dense level"])
        assert row["ratio"] == pytest.approx(times["ours"] / faster)
        assert row["ratio_as_advised"] == pytest.approx(times["ours"] / times["static"])
    assert measured["trie_vs_static_as_advised"] == max(row["ratio_as_advised"] for row in rows)
    assert measured["trie_vs_static"] == max(row["ratio"] for row in rows) > 0
