"""The whole graph against the float64 reference: any trie, any filter, any batch, any beam width."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_export.graph import build_graph
from model_export.graph_search import DEAD
from model_export.proof import weights_of
from model_export.reference import Prompt, ReferenceDecoder, beam_search
from model_export.session import Answers, GraphSession, Prompts
from sid import MOST_NODES, SidTable, Trie
from training.model import Decoder, DecoderConfig
from training.model import Prompts as DecoderPrompts
from training.search import TrieTree, constrained_search

Codebooks = tuple[int, ...]
SessionOf = Callable[[Codebooks, int], GraphSession]

CODEBOOKS = [(9,), (7, 3), (6, 4, 5), (5, 2, 3, 2)]
BEAM_WIDTHS = [1, 3, 10, 150]
TOLERANCE = 5e-5


def one(tokens: list[int]) -> Prompt:
    """A prompt of these tokens, with an embedding of its own."""
    return Prompt(np.asarray(tokens), np.random.default_rng(tokens).standard_normal(6).astype(np.float32))


def pad(prompts: list[list[int]], extra: int = 0) -> Prompts:
    """Prompts at the right edge, behind ``extra`` columns of padding."""
    length = max(len(prompt) for prompt in prompts) + extra
    tokens = np.zeros((len(prompts), length), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        tokens[row, length - len(prompt) :] = prompt
    mask = np.arange(length) >= length - np.asarray([[len(prompt)] for prompt in prompts])
    return Prompts(tokens, mask, np.stack([one(prompt).embedding for prompt in prompts]))


def full_table(codebooks: Codebooks) -> SidTable:
    return SidTable.from_item_codes(np.asarray(list(itertools.product(*map(range, codebooks)))), codebooks)


@dataclass(frozen=True)
class Case:
    """A catalogue and a batch of queries, each with the leaves that it may find.

    Attributes:
        filters: bool [F, n_leaves].
        filter_rows: one per prompt.
    """

    table: SidTable
    prompts: list[list[int]]
    filters: NDArray[np.bool_]
    filter_rows: list[int]

    @property
    def codebooks(self) -> Codebooks:
        return self.table.codebook_sizes

    def search(self, session: GraphSession) -> Answers:
        trie = Trie.from_table(self.table)
        alive = np.stack([trie.alive(leaf_mask) for leaf_mask in self.filters])
        return session.search(pad(self.prompts), trie, alive, np.asarray(self.filter_rows, dtype=np.int32))

    def leaves(self, row: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.filters[self.filter_rows[row]])


@st.composite
def sid_sets(draw: st.DrawFn, codebooks: Codebooks) -> list[list[int]]:
    """Spread evenly, piled up by a Zipf law, one path, or a few."""
    every = full_table(codebooks).codes.tolist()
    kind = draw(st.sampled_from(["spread", "skewed", "one path", "few", "all"]))
    if kind == "all":
        return every
    if kind == "one path":
        return [draw(st.sampled_from(every))]
    if kind == "few":
        return draw(st.lists(st.sampled_from(every), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_sids = draw(st.integers(1, len(every)))
    if kind == "spread":
        return [every[index] for index in rng.choice(len(every), n_sids, replace=False)]
    codes = [(rng.zipf(1.5, n_sids) - 1) % size for size in codebooks]
    return np.stack(codes, axis=1).tolist()


@st.composite
def cases(draw: st.DrawFn) -> Case:
    codebooks = draw(st.sampled_from(CODEBOOKS))
    table = SidTable.from_item_codes(np.asarray(draw(sid_sets(codebooks))), codebooks)
    query = st.lists(st.integers(4, 39), max_size=6).map(lambda tokens: [1, *tokens, 2])
    prompts = draw(st.lists(query, min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_leaves = table.n_leaves
    kinds = {
        "all": np.ones(n_leaves, dtype=bool),
        "none": np.zeros(n_leaves, dtype=bool),
        "one": np.arange(n_leaves) == rng.integers(n_leaves),
        "half": rng.random(n_leaves) < 0.5,
        "few": rng.random(n_leaves) < 0.1,
    }
    filters = [kinds[kind] for kind in draw(st.lists(st.sampled_from(list(kinds)), min_size=1, max_size=4))]
    rows = draw(st.lists(st.integers(0, len(filters) - 1), min_size=len(prompts), max_size=len(prompts)))
    return Case(table, prompts, np.stack(filters), rows)


def assert_well_formed(case: Case, answers: Answers, row: int, n_found: int) -> None:
    """``n_found`` different SIDs, best first, ties by leaf; then nothing."""
    leaves, log_probs, sids = answers.leaves[row], answers.log_probs[row], answers.sids[row]
    assert len(set(leaves[:n_found].tolist())) == n_found
    assert set(leaves[:n_found].tolist()) <= set(case.leaves(row).tolist())
    np.testing.assert_array_equal(sids[:n_found], case.table.codes[leaves[:n_found]])
    np.testing.assert_array_equal(np.lexsort((leaves[:n_found], -log_probs[:n_found])), np.arange(n_found))
    assert (leaves[n_found:] == -1).all()
    assert (sids[n_found:] == -1).all()
    assert (log_probs[n_found:] == np.float32(DEAD)).all()


@settings(max_examples=300, deadline=None)
@given(case=cases(), beam_width=st.sampled_from(BEAM_WIDTHS))
def test_a_beam_as_wide_as_the_catalogue_ranks_all_of_it(
    references: dict[Codebooks, ReferenceDecoder], session_of: SessionOf, case: Case, beam_width: int
) -> None:
    reference = references[case.codebooks]
    answers = case.search(session_of(case.codebooks, beam_width))
    for row, prompt in enumerate(case.prompts):
        leaves = case.leaves(row)
        if len(leaves) > beam_width:
            continue
        assert_well_formed(case, answers, row, len(leaves))
        scores = reference.log_probs(one(prompt), case.table.codes)
        found = answers.leaves[row, : len(leaves)]
        np.testing.assert_allclose(answers.log_probs[row, : len(leaves)], scores[found], atol=TOLERANCE)


@settings(max_examples=300, deadline=None)
@given(case=cases(), beam_width=st.sampled_from(BEAM_WIDTHS))
def test_a_narrow_beam_finds_what_the_reference_finds(
    references: dict[Codebooks, ReferenceDecoder], session_of: SessionOf, case: Case, beam_width: int
) -> None:
    reference = references[case.codebooks]
    answers = case.search(session_of(case.codebooks, beam_width))
    for row, prompt in enumerate(case.prompts):
        sids = case.table.codes[case.leaves(row)]
        expected = beam_search(reference, one(prompt), sids, beam_width)
        assert_well_formed(case, answers, row, len(expected.log_probs))
        if expected.margin > TOLERANCE:
            values = list(expected.log_probs.values())
            np.testing.assert_allclose(answers.log_probs[row, : len(values)], values, atol=TOLERANCE)


@settings(max_examples=50, deadline=None)
@given(case=cases())
def test_query_vectors_are_the_references(
    references: dict[Codebooks, ReferenceDecoder], session_of: SessionOf, case: Case
) -> None:
    reference = references[case.codebooks]
    vectors = case.search(session_of(case.codebooks, 3)).query_vectors
    expected = [reference.query_vector(one(prompt)) for prompt in case.prompts]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(case=cases(), extra=st.integers(1, 9))
def test_padding_and_neighbours_change_nothing(session_of: SessionOf, case: Case, extra: int) -> None:
    session, trie = session_of(case.codebooks, 10), Trie.from_table(case.table)
    together = session.search(pad(case.prompts, extra), trie)
    for row, prompt in enumerate(case.prompts):
        alone = session.search(pad([prompt]), trie)
        np.testing.assert_allclose(together.log_probs[row], alone.log_probs[0], atol=TOLERANCE)
        np.testing.assert_allclose(together.query_vectors[row], alone.query_vectors[0], atol=1e-5)


@pytest.mark.parametrize("codebooks", CODEBOOKS)
def test_torch_finds_the_same(
    decoders: dict[Codebooks, Decoder], session_of: SessionOf, codebooks: Codebooks
) -> None:
    """The search that tuned and judged the model is the search that serves it."""
    rng = np.random.default_rng(1)
    every = full_table(codebooks).codes
    table = SidTable.from_item_codes(every[rng.random(len(every)) < 0.7], codebooks)
    trie = Trie.from_table(table)
    prompts = pad([[1, *rng.integers(4, 40, length).tolist(), 2] for length in (0, 1, 3, 8)])
    answers = session_of(codebooks, 10).search(prompts, trie)
    arrays = (prompts.tokens, prompts.mask, prompts.embeddings)
    same = DecoderPrompts(*(torch.from_numpy(array) for array in arrays))
    expected = constrained_search(decoders[codebooks], same, TrieTree.from_trie(trie), 10)
    np.testing.assert_array_equal(answers.leaves, expected.leaves.numpy())
    np.testing.assert_allclose(answers.log_probs, expected.log_probs.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(answers.query_vectors, expected.query_vectors.numpy(), atol=1e-5)


@pytest.mark.parametrize("codebooks", CODEBOOKS)
def test_the_embedding_of_a_query_tells_its_answer(session_of: SessionOf, codebooks: Codebooks) -> None:
    session, trie = session_of(codebooks, 10), Trie.from_table(full_table(codebooks))
    prompts = pad([[1, 5, 9, 2], [1, 5, 9, 2], [1, 5, 9, 2]])
    embeddings = np.stack([prompts.embeddings[0], -prompts.embeddings[0], np.zeros(6, np.float32)])
    answers = session.search(Prompts(prompts.tokens, prompts.mask, embeddings), trie)
    for a, b in itertools.combinations(range(3), 2):
        assert np.abs(answers.log_probs[a] - answers.log_probs[b]).max() > 0.01
        assert np.abs(answers.query_vectors[a] - answers.query_vectors[b]).max() > 0.01


@pytest.mark.parametrize("codebooks", CODEBOOKS)
def test_an_empty_trie_gives_nothing(session_of: SessionOf, codebooks: Codebooks) -> None:
    table = SidTable.from_item_codes(np.empty((0, len(codebooks)), dtype=np.int32), codebooks)
    answers = session_of(codebooks, 3).search(pad([[1, 5, 2], [1, 2]]), Trie.from_table(table))
    assert (answers.leaves == -1).all()
    assert (answers.sids == -1).all()
    assert (answers.log_probs == np.float32(DEAD)).all()
    np.testing.assert_allclose(np.linalg.norm(answers.query_vectors, axis=1), 1.0, atol=1e-6)


def test_equal_scores_come_by_leaf(decoders: dict[Codebooks, Decoder]) -> None:
    """Where every code is as likely as its neighbour, the first K leaves are found, in order."""
    codebooks = (6, 4, 5)
    weights = weights_of(decoders[codebooks])
    for level in range(3):
        weights[f"code_embeddings.{level}.weight"] = np.zeros((codebooks[level], 16), dtype=np.float32)
    model = build_graph(decoders[codebooks].config, weights, 10)
    session = GraphSession(ir.to_proto(model).SerializeToString(), 10)
    answers = session.search(pad([[1, 7, 2], [1, 2]]), Trie.from_table(full_table(codebooks)))
    np.testing.assert_array_equal(answers.leaves, [range(10)] * 2)


def test_equal_sums_of_different_beams_come_by_leaf() -> None:
    """Code 1 is likelier than code 0, and what follows it is as much less likely."""
    config = DecoderConfig(4, (2, 2), embedding_dim=6, vector_dim=1, d_model=16, n_layers=1)
    weights = {
        name: np.zeros_like(weight) if "norm" not in name else weight
        for name, weight in weights_of(Decoder(config)).items()
    }
    # With zeros in the layers a state is its own token's embedding, brought to the length of all others.
    axis = np.eye(16, dtype=np.float32)
    weights["embed_tokens.weight"][2] = axis[0] + axis[3]
    weights["code_embeddings.0.weight"][:] = [axis[1] - axis[0], axis[0] + axis[2]]
    weights["code_embeddings.1.weight"][:] = [axis[1] - axis[2], axis[2] - axis[1]]
    table = SidTable.from_item_codes(np.asarray([[0, 0], [1, 0]]), (2, 2))
    session = GraphSession(ir.to_proto(build_graph(config, weights, 2)).SerializeToString(), 2)
    answers = session.search(pad([[1, 2]]), Trie.from_table(table))
    assert answers.log_probs[0, 0] == answers.log_probs[0, 1]
    assert answers.leaves.tolist() == [[0, 1]]


def test_filters_may_hold_as_many_nodes_as_int32_counts(session_of: SessionOf) -> None:
    session, trie = session_of((6, 4, 5), 3), Trie.from_table(full_table((6, 4, 5)))
    # The system gives zeros their memory when they are first read, and one row of these is read.
    alive = np.zeros((MOST_NODES // trie.n_nodes, trie.n_nodes), dtype=bool)
    alive[-1] = True
    prompts = pad([[1, 9, 2]])
    answers = session.search(prompts, trie, alive, np.asarray([len(alive) - 1], dtype=np.int32))
    np.testing.assert_array_equal(answers.leaves, session.search(prompts, trie).leaves)
    with pytest.raises(ValueError, match="a graph reads 2,147,483,647 at most"):
        session.search(prompts, trie, np.zeros((len(alive) + 1, trie.n_nodes), dtype=bool))


@pytest.mark.parametrize("codebooks", CODEBOOKS)
def test_the_model_is_valid_onnx(decoders: dict[Codebooks, Decoder], codebooks: Codebooks) -> None:
    decoder = decoders[codebooks]
    model = ir.to_proto(build_graph(decoder.config, weights_of(decoder), 3))
    onnx.checker.check_model(model, full_check=True)


def test_each_weight_is_stored_once(decoders: dict[Codebooks, Decoder]) -> None:
    decoder = decoders[6, 4, 5]
    weights = weights_of(decoder)
    graph = build_graph(decoder.config, weights, 3).graph
    stored = sum(value.const_value.size for value in graph.initializers.values() if value.const_value)
    used = sum(weight.size for weight in weights.values())
    assert used <= stored < used + 100  # constants


def test_keys_and_values_of_the_prompt_are_not_copied_per_beam(
    monkeypatch: pytest.MonkeyPatch, decoders: dict[Codebooks, Decoder]
) -> None:
    """Seen at run time, where every intermediate value has its shape."""
    decoder, beam_width, length = decoders[6, 4, 5], 7, 13
    model = ir.to_proto(build_graph(decoder.config, weights_of(decoder), beam_width))
    names = [output.name for output in model.graph.output]
    inner = {name for node in model.graph.node for name in node.output if name and name not in names}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = GraphSession(model.SerializeToString(), beam_width)
    run, shapes = session._session.run, []

    def run_and_look(_: list[str], feeds: dict[str, Any]) -> list[Any]:
        values = run([*names, *inner], feeds)
        shapes.extend(value.shape for value in values)
        return values[: len(names)]

    monkeypatch.setattr(session, "_session", SimpleNamespace(run=run_and_look))
    session.search(pad([[1, *[9] * (length - 2), 2]] * 3), Trie.from_table(full_table((6, 4, 5))))
    assert (3, 2, 1, length, 8) in shapes
    assert (3, beam_width, 2, 1, 8) in shapes
    assert not [shape for shape in shapes if {length, beam_width, decoder.config.head_dim} <= set(shape)]
