"""What the filter benchmark says of a small catalogue."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks.decode.filters import SHARES, judge, measure, recalls
from benchmarks.decode.judge_trie_step import N_STATES, table_graph, table_prompts
from model_export.graph_search import Beams, Children, TrieSearch
from model_export.session import GraphSession
from sid import SidTable

KINDS_OF_TIME = ["1% kept", "10% kept", "50% kept"]


def quiet(_: str) -> None:
    """Nobody listens."""


def test_filtering_inside_loses_nothing_and_filtering_afterwards_does() -> None:
    said: list[str] = []
    result = measure(
        2_000,
        0,
        said.append,
        codebooks=(32, 32, 32),
        d_model=32,
        n_layers=1,
        beam_widths=(16, 64),
        judged_batches=5,
        rounds=1,
    )
    assert said
    assert result["n_sids"] == 2_000
    assert list(result["alive_ms"]) == KINDS_OF_TIME
    assert [row["beam_width"] for row in result["searches"]] == [16, 64]
    for row in result["searches"]:
        assert list(row["milliseconds"]) == ["unfiltered", *KINDS_OF_TIME]
        slowest = max(row["milliseconds"][name] for name in KINDS_OF_TIME)
        assert row["filter_extra"] == pytest.approx(slowest / row["milliseconds"]["unfiltered"] - 1)
    assert result["filter_extra"] == max(row["filter_extra"] for row in result["searches"])
    assert [(row["beam_width"], row["kept"]) for row in result["recall"]] == [
        (beam_width, share) for beam_width in (16, 64) for share in SHARES
    ]
    assert all(row["inside"] == 1.0 for row in result["recall"])
    assert all(row["afterwards"] < 0.9 for row in result["recall"])
    assert result["judged"]["exact_cases"] + result["judged"]["ambiguous"] == 5 * 16
    assert result["judged"]["failures"] == 0


def test_recall_is_the_share_of_what_a_smaller_catalogue_gives() -> None:
    """Scores fall with the leaf, so that the two best are the first two, kept or not."""
    table = SidTable.from_item_codes(np.arange(1_000)[:, None], (1_000,))
    scores = np.broadcast_to(-np.arange(1_000), (1, 1, N_STATES, 1_000))
    session = GraphSession(table_graph(1, 100), 100)
    rows = list(recalls(session, table_prompts(scores), table, np.random.default_rng(0), quiet))
    rng = np.random.default_rng(0)
    for row, share in zip(rows, SHARES, strict=True):
        leaf_mask = rng.random(1_000) < share
        leaf_mask[rng.integers(1_000)] = True
        assert row["inside"] == 1.0
        assert row["afterwards"] == leaf_mask[:100].sum() / min(100, leaf_mask.sum())


class IgnoresFilters(TrieSearch):
    """Lets everything through."""

    def children(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        everything = self.g.Or(self.alive, self.g.Not(self.alive))
        return TrieSearch.children(replace(self, alive=everything), beams, code_log_probs, level)


def test_wrong_answers_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert judge(3, 0, quiet)["failures"] == 0
    monkeypatch.setattr("model_export.graph.TrieSearch", IgnoresFilters)
    assert judge(3, 0, quiet)["failures"] > 0
